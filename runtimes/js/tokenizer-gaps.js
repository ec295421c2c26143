/** Where @huggingface/tokenizers 0.2.0 gives other ids than the tokenizers library, and what makes up for it. */

// Chinese characters beyond the first 65536: BERT's normalizer puts spaces around each, this one only around the rest.
const RARE_CHINESE =
  /[\u{20000}-\u{2A6DF}\u{2A700}-\u{2B73F}\u{2B740}-\u{2B81F}\u{2B920}-\u{2CEAF}\u{2F800}-\u{2FA1F}]/gu;

// Lower case knows no final sigma there.
const SIGMA = /Σ/gu;

/** @param {string} text @param {any} json tokenizer.json */
export function mend(text, json) {
  /** @type {any[]} */
  const steps = json.normalizer?.normalizers ?? [json.normalizer ?? {}];
  const spaced = steps.some((one) => one.type === "BertNormalizer" && one.handle_chinese_chars);
  const lowered = steps.some((one) => one.type === "Lowercase" || (one.type === "BertNormalizer" && one.lowercase));
  const split = spaced ? text.replace(RARE_CHINESE, " $& ") : text;
  return lowered ? split.replace(SIGMA, "σ") : split;
}
