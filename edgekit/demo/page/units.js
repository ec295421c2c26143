// Figures as people read them: three digits that count, and a unit.

/** @param {number} value */
function rounded(value) {
  if (value === 0) return "0";
  const digits = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))));
  return value.toLocaleString("en", { maximumFractionDigits: Math.min(digits, 6) });
}

export const milliseconds = (value) => (value >= 1000 ? `${rounded(value / 1000)} s` : `${rounded(value)} ms`);

export function bytes(value) {
  for (const [size, unit] of [[2 ** 30, "GiB"], [2 ** 20, "MiB"], [2 ** 10, "KiB"]])
    if (value >= size) return `${rounded(value / size)} ${unit}`;
  return `${value} bytes`;
}

export const speed = (value) => `${rounded(value)} tokens/s`;

export const plain = rounded;

export function median(values) {
  const sorted = [...values].sort((one, other) => one - other);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
