/** An engine's package: optional, because an app installs only the engine of its bundles. */
import { LoadFailed, words } from "../errors.js";

/** The module of an engine's package, or LoadFailed that says how to get it.
 *
 * @template T
 * @param {string} name @param {string} tested the version that the tests ran
 * @param {() => Promise<T>} load the import itself, spelt out where bundlers can see it
 * @returns {Promise<T>} */
export async function load(name, tested, load) {
  try {
    return await load();
  } catch (error) {
    throw new LoadFailed(`the engine cannot be imported (${words(error)}): npm install ${name}@${tested}`, {
      cause: error,
    });
  }
}

/** LoadFailed unless `found` is at least `from` and below the major version `below`.
 *
 * @param {string} name @param {string | undefined} found @param {string} from @param {number} below
 * @param {string} tested */
export function checkVersion(name, found, from, below, tested) {
  const [have, need] = [numbers(found ?? ""), numbers(from)];
  const order = have.map((part, index) => part - (need[index] ?? 0)).find((difference) => difference !== 0) ?? 0;
  if (have.length < 3 || order < 0 || have[0] >= below)
    throw new LoadFailed(
      `${name} is version ${found || "unknown"}, this runtime needs ${from} or newer, below ${below}.0:` +
        ` npm install ${name}@${tested}`,
    );
}

/** @param {string} version @returns {number[]} */
function numbers(version) {
  const found = /^(\d+)\.(\d+)\.(\d+)/u.exec(version);
  return found ? found.slice(1).map(Number) : [];
}
