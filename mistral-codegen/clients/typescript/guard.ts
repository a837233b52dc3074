/** Money: what was spent, what may still be. */

import type { Usage } from "./types.js";

/** The request could cost more than what is left. */
export class OverBudgetError extends Error {}

/**
 * Counts tokens times price, and lets no request start that could pass the limit.
 *
 * A request reserves the most that it could cost, its prompt counted as a token a byte, and gives
 * back what it didn't use. One whose end isn't known counts as a whole.
 */
export class CostGuard {
  spentUsd = 0;
  usage: Usage = { prompt_tokens: 0, completion_tokens: 0 };
  private reserved = 0;

  constructor(
    readonly limitUsd: number,
    private readonly usdPerMtokIn: number,
    private readonly usdPerMtokOut: number,
  ) {}

  /** Dollars for these tokens; cached ones count in full. */
  usd(promptTokens: number, completionTokens: number): number {
    return (promptTokens * this.usdPerMtokIn + completionTokens * this.usdPerMtokOut) / 1e6;
  }

  /** Sets aside what a request could cost, in dollars. */
  reserve(requestBytes: number, maxTokens: number): number {
    const usd = this.usd(requestBytes, maxTokens);
    const taken = this.spentUsd + this.reserved;
    if (taken + usd > this.limitUsd) {
      throw new OverBudgetError(
        `the limit of ${this.limitUsd} USD would be passed: ${taken.toFixed(6)} USD are spent or ` +
          `reserved, and this request may cost ${usd.toFixed(6)} USD`,
      );
    }
    this.reserved += usd;
    return usd;
  }

  /** Ends a reservation: it cost what was used, or all of it where that isn't known. */
  settle(reserved: number, usage: Usage | undefined): void {
    this.reserved -= reserved;
    if (usage === undefined) {
      this.spentUsd += reserved;
      return;
    }
    this.spentUsd += this.usd(usage.prompt_tokens, usage.completion_tokens);
    this.usage.prompt_tokens += usage.prompt_tokens;
    this.usage.completion_tokens += usage.completion_tokens;
  }

  /** Ends the reservation of a request that was refused: it cost nothing. */
  release(reserved: number): void {
    this.reserved -= reserved;
  }
}
