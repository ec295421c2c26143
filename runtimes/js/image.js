/** A picture to `pixel_values`: resize, crop, rescale, normalise, as the manifest says. */
import { BadInput, BundleInvalid } from "./errors.js";
import { MANIFEST, setting, show } from "./manifest.js";
import { isFilter, resize } from "./resample.js";

/** @typedef {import("./resample.js").Rgb} Rgb */
/** @typedef {import("./engines/contract.d.ts").Manifest} Manifest */
/** @typedef {import("./index.d.ts").Tensor} Tensor */

// As in the C runtime.
const MAX_EDGE = 16384;
const MAX_PIXELS = 2 ** 28;

/** float32 [1, 3, height, width] of decoded pixels.
 *
 * @param {unknown} picture @param {Manifest} manifest @returns {Tensor} */
export function pixelValues(picture, manifest) {
  const { height, width, edge, resample, mean, std, rescale } = recipe(manifest);
  let pixels = rgb(picture);
  const [toHeight, toWidth] = edge === null ? [height, width] : shorterSideTo(edge, pixels.height, pixels.width);
  if (toHeight * toWidth > MAX_PIXELS)
    throw new BadInput(
      `a picture of ${pixels.height} x ${pixels.width} would become one of ${toHeight} x ${toWidth}:` +
        " crop it, it is too narrow",
    );
  if (pixels.height !== toHeight || pixels.width !== toWidth) pixels = resize(pixels, toWidth, toHeight, resample);
  const { data } = centre(pixels, height, width);
  const values = new Float32Array(3 * height * width);
  for (let c = 0; c < 3; c++)
    for (let i = 0; i < height * width; i++) {
      // Each step in 32 bits, as the recorded answers were made.
      const scaled = Math.fround(data[i * 3 + c] * Math.fround(rescale));
      values[c * height * width + i] = Math.fround(scaled - Math.fround(mean[c])) / Math.fround(std[c]);
    }
  return { dtype: "float32", shape: [1, 3, height, width], data: values };
}

/** @param {Manifest} manifest */
function recipe(manifest) {
  const [height, width, resample] = ["height", "width", "resample"].map((key) => whole(manifest, key));
  const edge = (manifest.image?.shortest_edge ?? null) === null ? null : whole(manifest, "shortest_edge");
  if (!isFilter(resample)) throw new BundleInvalid(`${MANIFEST}: image.resample ${resample} is no filter of Pillow's`);
  const [mean, std] = ["mean", "std"].map((key) => colours(manifest, key));
  return { height, width, edge, resample, mean, std, rescale: setting(manifest, "image", "rescale", "number") };
}

/** @param {Manifest} manifest @param {string} key */
function whole(manifest, key) {
  const value = setting(manifest, "image", key, "number");
  if (Number.isInteger(value) && value >= (key === "resample" ? 0 : 1) && value <= MAX_EDGE) return value;
  throw new BundleInvalid(`${MANIFEST}: image.${key} is ${value}, which this task cannot use`);
}

/** @param {Manifest} manifest @param {string} key @returns {number[]} */
function colours(manifest, key) {
  const value = manifest.image?.[key];
  if (Array.isArray(value) && value.length === 3 && value.every(Number.isFinite)) return value;
  throw new BundleInvalid(`${MANIFEST}: image.${key} is ${show(value)}, expected three numbers`);
}

/** Three bytes a pixel; an alpha channel is left out.
 *
 * @param {unknown} picture @returns {Rgb} */
function rgb(picture) {
  const { data, width, height } = /** @type {Partial<Rgb>} */ (picture ?? {});
  const bytes = data instanceof Uint8Array || /** @type {unknown} */ (data) instanceof Uint8ClampedArray;
  const sized = width !== undefined && height !== undefined && width > 0 && height > 0;
  const channels = bytes && sized ? data.length / (width * height) : 0;
  if (!bytes || !(channels === 3 || channels === 4) || !Number.isInteger(width) || !Number.isInteger(height))
    throw new BadInput(`a picture is ${data?.length} values for ${width} x ${height}, expected 8-bit RGB or RGBA`);
  const [across, down] = [Number(width), Number(height)];
  if (channels === 3) return { data: new Uint8Array(data), width: across, height: down };
  const kept = new Uint8Array(across * down * 3);
  for (let i = 0; i < across * down; i++) for (let c = 0; c < 3; c++) kept[i * 3 + c] = data[i * 4 + c];
  return { data: kept, width: across, height: down };
}

/** @param {number} edge @param {number} height @param {number} width @returns {[number, number]} height, width */
function shorterSideTo(edge, height, width) {
  return height <= width ? [edge, Math.trunc((edge * width) / height)] : [Math.trunc((edge * height) / width), edge];
}

/** The centre crop; what lies outside the picture is black.
 *
 * @param {Rgb} picture @param {number} height @param {number} width @returns {Rgb} */
function centre(picture, height, width) {
  const [top, left] = [offset(picture.height, height), offset(picture.width, width)];
  const data = new Uint8Array(height * width * 3);
  for (let y = Math.max(0, -top); y < Math.min(height, picture.height - top); y++) {
    const x = Math.max(0, -left);
    const count = Math.min(width, picture.width - left) - x;
    const from = ((y + top) * picture.width + x + left) * 3;
    data.set(picture.data.subarray(from, from + count * 3), (y * width + x) * 3);
  }
  return { data, width, height };
}

/** Where in `have` a crop of `want` begins; negative where it is the wider one: an odd margin's rest goes first.
 *
 * @param {number} have @param {number} want */
function offset(have, want) {
  return have >= want ? Math.floor((have - want) / 2) : -Math.ceil((want - have) / 2);
}
