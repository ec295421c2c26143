export function offsets() { return []; }
