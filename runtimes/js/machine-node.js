/** What this machine says of itself: CPU features and cores. Unknown is null, never a guess. */
import { readFileSync } from "node:fs";
import os from "node:os";

/** @type {Record<string, string>} */
const ARCHITECTURES = { x64: "x86_64", arm64: "aarch64", arm: "armv7" };
/** The kernel's ARM names -> the standard ones; x86 flags are spelt the standard way already.
 *
 * @type {Map<string, string>} */
const ARM_FEATURES = new Map([
  ["asimd", "neon"],
  ["asimddp", "dotprod"],
  ["asimdhp", "fp16"],
  ["fphp", "fp16"],
]);

export const arch = ARCHITECTURES[process.arch] ?? process.arch;

/** ISA features every core has, by standard name (avx2, avx512_vnni, dotprod, i8mm); null where none can be read.
 *
 * @param {string | null} [cpuinfo] @returns {Set<string> | null} */
export function isaFeatures(cpuinfo = read("/proc/cpuinfo")) {
  const cores = [...(cpuinfo ?? "").matchAll(/^(?:flags|Features)[ \t]*:(.*)$/gmu)].map((line) =>
    line[1].split(/\s+/u).filter(Boolean),
  );
  if (!cores.length) return null;
  const others = cores.slice(1).map((names) => new Set(names));
  const shared = cores[0].filter((name) => others.every((names) => names.has(name)));
  return new Set(shared.map((name) => ARM_FEATURES.get(name) ?? name));
}

/** Cores this process may use, hyper-threads counted once, no more than its CPU quota. At least 1. */
export function usableCores() {
  const allowed = allowedCpus();
  const count = countCores(read("/proc/cpuinfo") ?? "", allowed) || allowed?.size || os.availableParallelism();
  return Math.max(1, Math.min(count, cpuQuota() ?? count));
}

/** Physical cores among the logical CPUs `allowed`; 0 where the text does not say.
 *
 * @param {string} cpuinfo @param {Set<number> | null} allowed */
export function countCores(cpuinfo, allowed) {
  const cores = new Set();
  for (const block of cpuinfo.split("\n\n")) {
    const fields = new Map([...block.matchAll(/^([^:\n]+?)\s*:[ \t]*(.*?)[ \t]*$/gmu)].map((one) => [one[1], one[2]]));
    const number = fields.get("processor") ?? "";
    if (/^\d+$/u.test(number) && (!allowed || allowed.has(Number(number))))
      cores.add(`${fields.get("physical id")}/${fields.get("core id") ?? "cpu" + number}`);
  }
  return cores.size;
}

/** @returns {Set<number> | null} */
function allowedCpus() {
  const list = /^Cpus_allowed_list:\s*(\S+)$/mu.exec(read("/proc/self/status") ?? "")?.[1];
  if (!list) return null;
  const found = list.split(",").flatMap((range) => {
    const [first, last = first] = range.split("-").map(Number);
    return Array.from({ length: last - first + 1 }, (_, index) => first + index);
  });
  return new Set(found);
}

/** Whole CPUs that control group 2 grants, rounded up; null without a limit. */
function cpuQuota() {
  const [quota, period] = (read("/sys/fs/cgroup/cpu.max") ?? "").trim().split(" ");
  return /^\d+$/u.test(quota) && Number(period) > 0 ? Math.max(1, Math.ceil(Number(quota) / Number(period))) : null;
}

/** @param {string} path */
function read(path) {
  try {
    return readFileSync(path, "utf-8");
  } catch {
    return null;
  }
}
