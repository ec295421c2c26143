/** Resizing a picture, to the bit as Pillow 13's Image.resize does: its filters, its 22-bit fixed point, and the pass
 * first that throws away more. Older versions always go across first, which differs by a few levels here and there. */

/** @typedef {{ data: Uint8Array, width: number, height: number }} Rgb three bytes a pixel */
/** @typedef {{ support: number, weight: (x: number) => number }} Filter */

const PRECISION_BITS = 22;
const NEAREST = 0;

/** By Pillow's numbers; 0 is the nearest pixel. @type {Record<number, Filter>} */
const FILTERS = {
  1: { support: 3, weight: (x) => (x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0) },
  2: { support: 1, weight: (x) => Math.max(0, 1 - Math.abs(x)) },
  3: { support: 2, weight: (x) => cubic(Math.abs(x)) },
  4: { support: 0.5, weight: (x) => (x > -0.5 && x <= 0.5 ? 1 : 0) },
  5: { support: 1, weight: (x) => hamming(Math.abs(x)) },
};

/** @param {number} filter */
export function isFilter(filter) {
  return filter === NEAREST || filter in FILTERS;
}

/** @param {Rgb} picture @param {number} width @param {number} height @param {number} filter Pillow's number
 * @returns {Rgb} */
export function resize(picture, width, height, filter) {
  if (filter === NEAREST) return nearest(picture, width, height);
  const chosen = FILTERS[filter];
  const shorter = picture.height - height;
  const downFirst = shorter > 0 && shorter > 2 * (picture.width - width);
  const half = downFirst ? down(picture, height, chosen) : across(picture, width, chosen);
  return downFirst ? across(half, width, chosen) : down(half, height, chosen);
}

/** @param {Rgb} picture @param {number} width @param {Filter} filter @returns {Rgb} */
function across(picture, width, filter) {
  if (width === picture.width) return picture;
  const { starts, weights } = coefficients(picture.width, width, filter);
  const data = new Uint8Array(width * picture.height * 3);
  for (let y = 0; y < picture.height; y++)
    for (let x = 0; x < width; x++)
      for (let c = 0; c < 3; c++) {
        const first = (y * picture.width + starts[x]) * 3 + c;
        data[(y * width + x) * 3 + c] = blend(picture.data, first, 3, weights[x]);
      }
  return { data, width, height: picture.height };
}

/** @param {Rgb} picture @param {number} height @param {Filter} filter @returns {Rgb} */
function down(picture, height, filter) {
  if (height === picture.height) return picture;
  const { starts, weights } = coefficients(picture.height, height, filter);
  const line = picture.width * 3;
  const data = new Uint8Array(line * height);
  for (let y = 0; y < height; y++)
    for (let x = 0; x < line; x++) data[y * line + x] = blend(picture.data, starts[y] * line + x, line, weights[y]);
  return { data, width: picture.width, height };
}

/** @param {Uint8Array} data @param {number} at @param {number} step @param {Float64Array} weights whole numbers */
function blend(data, at, step, weights) {
  let sum = 2 ** (PRECISION_BITS - 1);
  for (let i = 0; i < weights.length; i++) sum += data[at + i * step] * weights[i];
  return Math.min(255, Math.max(0, Math.floor(sum / 2 ** PRECISION_BITS)));
}

/** For each pixel of the result: the first of those it is made of, and their weights in fixed point.
 *
 * @param {number} from @param {number} to @param {Filter} filter
 * @returns {{ starts: number[], weights: Float64Array[] }} */
function coefficients(from, to, filter) {
  const scale = from / to;
  const stretch = Math.max(1, scale);
  const support = filter.support * stretch;
  const [starts, weights] = [/** @type {number[]} */ ([]), /** @type {Float64Array[]} */ ([])];
  for (let index = 0; index < to; index++) {
    const centre = (index + 0.5) * scale;
    const start = Math.max(0, Math.trunc(centre - support + 0.5));
    const end = Math.min(from, Math.trunc(centre + support + 0.5));
    // As a product with 1 / stretch, not a quotient: the last bit may differ.
    const own = Float64Array.from({ length: end - start }, (_, i) =>
      filter.weight((i + start - centre + 0.5) * (1 / stretch)),
    );
    const sum = own.reduce((total, one) => total + one, 0);
    starts.push(start);
    weights.push(own.map((one) => fixed(sum === 0 ? one : one / sum)));
  }
  return { starts, weights };
}

/** @param {number} weight */
function fixed(weight) {
  return Math.trunc((weight < 0 ? -0.5 : 0.5) + weight * 2 ** PRECISION_BITS);
}

/** @param {Rgb} picture @param {number} width @param {number} height @returns {Rgb} */
function nearest(picture, width, height) {
  const [columns, rows] = [places(picture.width, width), places(picture.height, height)];
  const data = new Uint8Array(width * height * 3);
  rows.forEach((row, y) =>
    columns.forEach((column, x) => {
      const at = (row * picture.width + column) * 3;
      data.set(picture.data.subarray(at, at + 3), (y * width + x) * 3);
    }),
  );
  return { data, width, height };
}

/** Summed up step by step, as Pillow does it: a product may round to the next pixel.
 *
 * @param {number} from @param {number} to */
function places(from, to) {
  const step = from / to;
  let at = step * 0.5;
  return Array.from({ length: to }, () => {
    const place = Math.trunc(at);
    at += step;
    return Math.min(place, from - 1);
  });
}

/** @param {number} x */
function sinc(x) {
  return x === 0 ? 1 : Math.sin(x * Math.PI) / (x * Math.PI);
}

/** @param {number} x not negative */
function cubic(x) {
  const a = -0.5;
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

/** @param {number} x not negative */
function hamming(x) {
  if (x === 0) return 1;
  const angle = x * Math.PI;
  // Single precision, as Pillow has these two.
  return x >= 1 ? 0 : (Math.sin(angle) / angle) * (Math.fround(0.54) + Math.fround(0.46) * Math.cos(angle));
}
