"""Continues texts and chats with vLLM in this process, without a server."""

import sys
from collections.abc import Iterator, Sequence
from typing import Any

from vllm import LLM, RequestOutput, SamplingParams
from vllm.inputs import TokensPrompt

import settings
from cli import Message, Piece, Sampling, Tool, UsageError, main, room


class Model:
    """A model on its devices."""

    def __init__(self, name: str) -> None:
        self._llm = LLM(
            model=name,
            revision=settings.REVISION if name == settings.MODEL else None,
            tokenizer_mode=settings.TOKENIZER_MODE,
            tensor_parallel_size=settings.TENSOR_PARALLEL,
            gpu_memory_utilization=settings.GPU_MEMORY_UTILIZATION,
            seed=(settings.SEED or 0) % 2**32,
            **_engine_arguments(),
        )

    def complete(self, prompt: str, sampling: Sampling) -> Iterator[Piece]:
        """Continues a text."""
        ids = self._llm.get_tokenizer().encode(prompt)
        parameters = _parameters(sampling, room(len(ids), sampling))
        text = TokensPrompt(prompt_token_ids=ids)
        yield from _pieces(self._llm.generate(text, parameters, use_tqdm=False))

    def chat(
        self, messages: Sequence[Message], tools: Sequence[Tool], sampling: Sampling
    ) -> Iterator[Piece]:
        """Answers a conversation; the engine refuses one that the context doesn't hold."""
        turns: list[Any] = [dict(message) for message in messages]
        parameters = _parameters(sampling, sampling.max_tokens)
        try:
            answers = self._llm.chat(
                turns, parameters, use_tqdm=False, tools=[dict(tool) for tool in tools] or None
            )
        except ValueError as error:
            raise UsageError(str(error)) from error
        yield from _pieces(answers)


def _engine_arguments() -> dict[str, Any]:
    """Arguments that the class hands on to the engine, or whose types are lists of words."""
    arguments: dict[str, Any] = {
        "dtype": settings.DTYPE,
        "quantization": settings.QUANTIZATION,
        "max_model_len": settings.CONTEXT_TOKENS,
        "max_num_seqs": settings.CONCURRENCY,
        "pipeline_parallel_size": settings.PIPELINE_PARALLEL,
        "kv_cache_dtype": settings.KV_CACHE_DTYPE,
        "generation_config": "vllm",
    }
    if settings.MISTRAL_FORMAT:
        arguments |= {"config_format": "mistral", "load_format": "mistral"}
    if settings.BATCH_TOKENS is not None:
        arguments["max_num_batched_tokens"] = settings.BATCH_TOKENS
    return arguments


def _parameters(sampling: Sampling, longest: int | None) -> SamplingParams:
    return SamplingParams(
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        min_p=sampling.min_p,
        seed=sampling.seed,
        max_tokens=longest,
        # A call of a tool is told from an answer by its control tokens.
        skip_special_tokens=not settings.TOOLS,
    )


def _pieces(answers: Sequence[RequestOutput]) -> Iterator[Piece]:
    """The class answers when the whole answer is there: one piece."""
    for answer in answers:
        output = answer.outputs[0]
        yield Piece(output.text, tuple(output.token_ids))


if __name__ == "__main__":
    sys.exit(main(Model))
