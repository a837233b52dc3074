/** Settings from the environment. */

import * as plan from "./plan.js";

/** A setting that can't be used. */
export class SettingError extends Error {}

/** Where requests go and what they may take. */
export interface Settings {
  baseUrl: string;
  /** Not enumerable, so that printing the settings doesn't show it. */
  key?: string;
  dialect: "mistral" | "openai";
  limitUsd: number;
  timeoutS: number;
  retries: number;
}

/** Settings from variables, the plan's where there are none. */
export function fromVariables(variables: { [name: string]: string | undefined }): Settings {
  const baseUrl = variables["MISTRAL_BASE_URL"] || plan.BASE_URL;
  if (!/^https?:\/\//.test(baseUrl)) {
    throw new SettingError("MISTRAL_BASE_URL: expected https:// or http://");
  }
  const dialect = variables["MISTRAL_DIALECT"] || plan.DIALECT;
  if (dialect !== "mistral" && dialect !== "openai") {
    throw new SettingError("MISTRAL_DIALECT: expected mistral or openai");
  }
  const number = (name: string, otherwise: number): number => {
    const value = Number(variables[name] || otherwise);
    if (!(value >= 0 && value <= 1e9)) {
      throw new SettingError(`${name}: expected a number from 0 to 1e9`);
    }
    return value;
  };
  const settings: Settings = {
    baseUrl: baseUrl.replace(/\/+$/, ""),
    dialect,
    limitUsd: number("MISTRAL_USD_LIMIT", plan.USD_LIMIT),
    timeoutS: Math.max(number("MISTRAL_TIMEOUT_S", 300), 0.001),
    retries: Math.floor(number("MISTRAL_RETRIES", 4)),
  };
  if (plan.KEY_VARIABLE !== null) {
    const key = variables[plan.KEY_VARIABLE] ?? "";
    if (!/^[!-~]+$/.test(key)) {
      throw new SettingError(`${plan.KEY_VARIABLE}: expected the key, without spaces`);
    }
    Object.defineProperty(settings, "key", { value: key, enumerable: false });
  }
  return settings;
}
