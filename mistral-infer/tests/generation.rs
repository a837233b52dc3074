//! Generation: determinism, batches, streaming, stops, the prefix cache, limits.

mod support;

use std::ops::ControlFlow;

use mistral_core::llm::{FinishReason, Message, TextGenerator, TextOptions};
use mistral_infer::{
    Finish, GenerateOptions, InferError, Model, Piece, Sampling, Session, SessionLimits,
    TextSession,
};
use serde_json::json;

fn limits(max_sequences: usize, max_batch_tokens: usize) -> SessionLimits {
    SessionLimits {
        max_sequences,
        max_batch_tokens,
        ..SessionLimits::default()
    }
}

fn prompt(model: &Model, text: &str) -> Vec<u32> {
    model.need_tokenizer().unwrap().encode(text).unwrap()
}

fn sampled(temperature: f32, max_tokens: usize) -> GenerateOptions {
    GenerateOptions {
        max_tokens,
        sampling: Sampling {
            temperature,
            ..Sampling::default()
        },
        ..GenerateOptions::default()
    }
}

fn collect(session: &mut Session<'_>, ids: &[u32], options: &GenerateOptions) -> Vec<Piece> {
    session
        .generate(ids, options)
        .unwrap()
        .map(|piece| piece.unwrap())
        .collect()
}

fn tokens(pieces: &[Piece]) -> Vec<u32> {
    pieces.iter().map(|p| p.token).collect()
}

#[test]
fn the_same_seed_draws_the_same_tokens_and_another_does_not() {
    let model = support::model(&support::dense().to_string(), 1);
    let ids = prompt(&model, "To be");
    let mut session = model.session(limits(1, 64)).unwrap();
    let mut draw = |seed| {
        let options = GenerateOptions {
            seed,
            ..sampled(1.0, 24)
        };
        tokens(&collect(&mut session, &ids, &options))
    };
    let first = draw(7);
    assert_eq!(first, draw(7));
    assert_ne!(first, draw(8));
}

#[test]
fn a_batch_draws_what_each_prompt_draws_alone() {
    for (name, params) in support::shapes() {
        let model = support::model(&params, 2);
        let prompts = ["a", "longer than the first one", "middle one"].map(|t| prompt(&model, t));
        let options = sampled(0.0, 20);
        let alone: Vec<Vec<u32>> = prompts
            .iter()
            .map(|ids| {
                tokens(&collect(
                    &mut model.session(limits(1, 64)).unwrap(),
                    ids,
                    &options,
                ))
            })
            .collect();
        let mut session = model.session(limits(3, 64)).unwrap();
        let views: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
        let mut together = vec![Vec::new(); 3];
        for piece in session.generate_batch(&views, &options).unwrap() {
            let piece = piece.unwrap();
            together[piece.sequence].push(piece.token);
        }
        assert_eq!(together, alone, "{name}");
    }
}

#[test]
fn short_passes_and_kept_prefixes_change_nothing() {
    for (name, params) in support::shapes() {
        let model = support::model(&params, 3);
        let ids = prompt(&model, "When shall we three meet again");
        let options = sampled(0.0, 16);
        let whole = collect(&mut model.session(limits(1, 64)).unwrap(), &ids, &options);
        let mut session = model.session(limits(1, 3)).unwrap();
        assert_eq!(
            collect(&mut session, &ids, &options),
            whole,
            "{name}: passes of three tokens"
        );
        assert_eq!(
            collect(&mut session, &ids, &options),
            whole,
            "{name}: the same prompt again"
        );
        let longer = [ids.as_slice(), &tokens(&whole)[..4]].concat();
        let rest = collect(&mut session, &longer, &options);
        assert_eq!(
            tokens(&rest)[..8],
            tokens(&whole)[4..12],
            "{name}: a prompt that goes on"
        );
    }
}

#[test]
fn a_prompt_that_is_cached_is_not_computed_again() {
    let model = support::model(&support::dense().to_string(), 4);
    let ids = prompt(&model, "Now is the winter");
    let mut session = model.session(limits(1, 64)).unwrap();
    collect(&mut session, &ids, &sampled(0.0, 3));
    let cached = session.tokens(0).len();
    assert_eq!(
        session.keep_prefix(0, &ids),
        ids.len() - 1,
        "of {cached} cached tokens"
    );
    let other = prompt(&model, "Now was the winter");
    assert_eq!(session.keep_prefix(0, &other), "Now ".len());
}

#[test]
fn streamed_text_is_whole_characters_and_loses_none() {
    let model = support::model(&support::dense().to_string(), 5);
    let tokenizer = model.need_tokenizer().unwrap();
    let ids = prompt(&model, "é");
    for seed in 0..8 {
        // Random bytes: most are no characters, some become one with the next.
        let options = GenerateOptions {
            seed,
            ..sampled(3.0, 200)
        };
        let mut session = model.session(limits(1, 64)).unwrap();
        let pieces = collect(&mut session, &ids, &options);
        let text: String = pieces.iter().map(|p| p.text.as_str()).collect();
        let mut drawn = tokens(&pieces);
        if pieces.last().unwrap().finish == Some(Finish::EndOfSequence) {
            drawn.pop();
        }
        assert_eq!(text, tokenizer.decode(&drawn).unwrap(), "seed {seed}");
    }
}

#[test]
fn a_stop_string_ends_the_text_before_it() {
    let model = support::model(&support::dense().to_string(), 6);
    let ids = prompt(&model, "x");
    let mut session = model.session(limits(1, 64)).unwrap();
    let free = session
        .generate(&ids, &sampled(0.0, 40))
        .unwrap()
        .into_text()
        .unwrap();
    let at = free.char_indices().nth(3).map(|(i, _)| i).unwrap();
    let stop: String = free[at..].chars().take(2).collect();
    let options = GenerateOptions {
        stop: vec![stop.clone()],
        ..sampled(0.0, 40)
    };
    let pieces = collect(&mut session, &ids, &options);
    let text: String = pieces.iter().map(|p| p.text.as_str()).collect();
    assert_eq!(pieces.last().unwrap().finish, Some(Finish::StopString));
    assert_eq!(text, free[..free.find(&stop).unwrap()]);
}

#[test]
fn the_end_is_named() {
    let params = support::with(support::dense(), "max_seq_len", json!(12));
    let model = support::model(&params, 7);
    let ids = prompt(&model, "12345");
    let mut session = model.session(limits(1, 64)).unwrap();
    let last = |pieces: Vec<Piece>| (pieces.len(), pieces.last().and_then(|p| p.finish));
    let few = collect(&mut session, &ids, &sampled(0.0, 3));
    assert_eq!(last(few), (3, Some(Finish::MaxTokens)));
    let none = collect(&mut session, &ids, &sampled(0.0, 0));
    assert_eq!(last(none), (0, None));
    let many = collect(&mut session, &ids, &sampled(0.0, 100));
    assert_eq!(last(many), (7, Some(Finish::Context)));
    let first = tokens(&collect(&mut session, &ids, &sampled(0.0, 1)))[0];
    let options = GenerateOptions {
        stop_ids: vec![first],
        ..sampled(0.0, 100)
    };
    assert_eq!(
        last(collect(&mut session, &ids, &options)),
        (1, Some(Finish::EndOfSequence))
    );
}

#[test]
fn what_cannot_be_generated_is_refused() {
    let model = support::model(&support::dense().to_string(), 8);
    let mut session = model.session(limits(1, 8)).unwrap();
    let ids = prompt(&model, "ok");
    let long = vec![20; 257];
    let rows: &[(&str, &[u32], GenerateOptions)] = &[
        ("the prompt has no tokens", &[], sampled(0.0, 1)),
        ("257 tokens exceed", &long, sampled(0.0, 1)),
        ("token id 266 at position 1", &[20, 266], sampled(0.0, 1)),
        (
            "stop",
            &ids,
            GenerateOptions {
                stop: vec![String::new()],
                ..sampled(0.0, 1)
            },
        ),
        ("kernel", &ids, sampled(-1.0, 1)),
        ("kernel", &ids, sampled(f32::NAN, 1)),
    ];
    for (named, ids, options) in rows {
        let error = session
            .generate(ids, options)
            .map(|_| ())
            .expect_err(named)
            .to_string();
        assert!(error.contains(named), "{named}: {error}");
    }
    let two: [&[u32]; 2] = [&ids, &ids];
    let error = session
        .generate_batch(&two, &sampled(0.0, 1))
        .map(|_| ())
        .unwrap_err();
    assert!(
        matches!(
            error,
            InferError::Limit {
                limit: "max_sequences",
                ..
            }
        ),
        "{error}"
    );
    for limits in [
        limits(0, 8),
        limits(1, 0),
        limits(usize::MAX, 8),
        limits(1, usize::MAX),
    ] {
        let error = model.session(limits).map(|_| ()).unwrap_err();
        assert!(matches!(error, InferError::Limit { .. }), "{error}");
    }
    let endless = SessionLimits {
        max_seq_len: Some(usize::MAX),
        ..SessionLimits::default()
    };
    let error = model.session(endless).map(|_| ()).unwrap_err();
    assert!(
        matches!(
            error,
            InferError::Limit {
                limit: "max_seq_len",
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn a_conversation_is_answered_through_the_text_generator() {
    let model = support::model(&support::dense().to_string(), 9);
    let mut generator = TextSession::new(&model, "tiny", SessionLimits::default()).unwrap();
    let options = TextOptions {
        max_tokens: 12,
        ..TextOptions::default()
    };
    let messages = [Message::user("hello")];
    let mut streamed = String::new();
    let answer = generator
        .generate_streaming(&messages, &options, &mut |text| {
            streamed.push_str(text);
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(answer.text, streamed);
    // <s>[INST]hello[/INST]
    assert_eq!(answer.prompt_tokens, Some(8));
    assert!(answer.output_tokens.unwrap() <= 12);
    let cut = generator
        .generate_streaming(&messages, &options, &mut |_| ControlFlow::Break(()))
        .unwrap();
    assert_eq!(cut.finish, FinishReason::Cancelled);
    assert!(answer.text.starts_with(&cut.text) && cut.text.len() < answer.text.len());
    let schema = TextOptions {
        json_schema: Some("{}".to_owned()),
        ..options
    };
    assert!(
        generator
            .generate(&messages, &schema)
            .unwrap_err()
            .to_string()
            .contains("json_schema")
    );
}
