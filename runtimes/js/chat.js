/** Chat templates, rendered as transformers renders them. They come with a model, from strangers: what runs them knows
 * no function but its own. */
import { Template } from "@huggingface/jinja";
import { BadInput, words } from "./errors.js";
import { isObject, kind, show } from "./manifest.js";
import { checkText } from "./text.js";

/** @typedef {import("./index.d.ts").Message} Message */

/** The prompt that ends where the assistant's answer begins; the special tokens stand in it as text.
 *
 * @param {string} template @param {unknown} messages @param {string} bosToken @param {string} eosToken
 * @returns {string} */
export function render(template, messages, bosToken, eosToken) {
  const checked = checkMessages(messages);
  try {
    return new Template(template).render({
      messages: checked,
      bos_token: bosToken,
      eos_token: eosToken,
      add_generation_prompt: true,
      tools: null,
      documents: null,
    });
  } catch (error) {
    throw new BadInput(`the chat template refuses these messages: ${words(error)}`, { cause: error });
  }
}

/** @param {unknown} messages @returns {Record<string, unknown>[]} */
function checkMessages(messages) {
  if (!Array.isArray(messages))
    throw new BadInput(`messages are ${kind(messages)}, expected a list of objects with role and content`);
  if (!messages.length) throw new BadInput("there is no message");
  for (const message of messages) {
    if (!isObject(message) || !("role" in message) || !("content" in message))
      throw new BadInput(`a message is ${show(message)}, expected an object with role and content`);
    checkText(message.role);
    checkText(message.content);
  }
  return messages;
}
