//! Speculation: guesses change how fast tokens come, and nothing else.

mod support;

use mistral_infer::{
    EndOfSequence, GenerateOptions, GenerationCounts, InferError, LoadOptions, Model, Piece,
    PromptLookup, Sampling, Session, SessionLimits, Speculation,
};
use mistral_kernels::Sampler;
use serde_json::json;

fn limits(max_batch_tokens: usize) -> SessionLimits {
    SessionLimits {
        max_batch_tokens,
        max_logits: 16,
        ..SessionLimits::default()
    }
}

fn options(sampling: Sampling, speculation: Speculation) -> GenerateOptions {
    GenerateOptions {
        max_tokens: 90,
        sampling,
        seed: 5,
        end: EndOfSequence::Ignored,
        speculation,
        ..GenerateOptions::default()
    }
}

fn lookup() -> Speculation {
    Speculation::PromptLookup(PromptLookup::default())
}

/// Greedy, greedy with penalties, and drawn.
fn samplings() -> [Sampling; 3] {
    let penalties = Sampling {
        repetition_penalty: 1.05,
        frequency_penalty: 0.02,
        ..Sampling::default()
    };
    let drawn = Sampling {
        temperature: 0.3,
        top_p: 0.9,
        ..penalties
    };
    [Sampling::default(), penalties, drawn]
}

fn generate(
    session: &mut Session<'_>,
    prompt: &[u32],
    options: &GenerateOptions,
) -> (Vec<Piece>, GenerationCounts) {
    let mut generation = session.generate(prompt, options).unwrap();
    let pieces = generation.by_ref().map(|piece| piece.unwrap()).collect();
    (pieces, generation.counts())
}

fn drafted(
    model: &Model,
    draft: &Model,
    prompt: &[u32],
    options: &GenerateOptions,
) -> (Vec<Piece>, GenerationCounts) {
    let mut session = model.session(limits(64)).unwrap();
    let mut draft = draft.session(limits(32)).unwrap();
    let generation = session.generate_with_draft(&mut draft, prompt, options);
    let mut generation = generation.unwrap();
    let pieces = generation.by_ref().map(|piece| piece.unwrap()).collect();
    (pieces, generation.counts())
}

#[test]
fn lookup_draws_what_plain_generation_draws() {
    let mut accepted = 0;
    for (name, params) in support::shapes() {
        let model = support::model(&params, 21);
        let prompt = model
            .need_tokenizer()
            .unwrap()
            .encode("to be or not to be, to be or not to")
            .unwrap();
        for sampling in samplings() {
            let plain = options(sampling, Speculation::None);
            let (expected, _) = generate(&mut model.session(limits(64)).unwrap(), &prompt, &plain);
            // Passes of 8 tokens make rings that hold the window and 8 more.
            for batch in [64, 8] {
                let mut session = model.session(limits(batch)).unwrap();
                for tokens in [6, 1, 3] {
                    let lookup = PromptLookup {
                        tokens,
                        shortest_match: 1,
                        ..PromptLookup::default()
                    };
                    let looking = options(sampling, Speculation::PromptLookup(lookup));
                    let (found, counts) = generate(&mut session, &prompt, &looking);
                    assert_eq!(found, expected, "{name} {sampling:?} {batch} {tokens}");
                    assert_eq!(counts.generated, found.len());
                    assert!(counts.drafted >= counts.accepted);
                    accepted += counts.accepted;
                }
            }
        }
    }
    assert!(
        accepted > 1000,
        "{accepted} guesses confirmed: too few to tell"
    );
}

#[test]
fn stops_lengths_and_contexts_end_in_the_middle_of_guesses() {
    let params = support::with(support::dense(), "max_seq_len", json!(64));
    let model = support::model(&params, 22);
    let prompt = model.need_tokenizer().unwrap().encode("abcabcabc").unwrap();
    let mut plain = model.session(limits(64)).unwrap();
    let mut looking = model.session(limits(64)).unwrap();
    let mut check = |change: &dyn Fn(&mut GenerateOptions)| {
        let mut options = options(Sampling::default(), Speculation::None);
        change(&mut options);
        let (expected, _) = generate(&mut plain, &prompt, &options);
        options.speculation = lookup();
        let (found, _) = generate(&mut looking, &prompt, &options);
        assert_eq!(found, expected, "{options:?}");
        // The caches hold what was handed out, but for the last token.
        assert_eq!(looking.tokens(0), plain.tokens(0), "{options:?}");
        expected
    };
    let whole = check(&|_| {});
    assert_eq!(whole.len(), 55, "up to the context");
    let text: String = whole.iter().map(|piece| piece.text.as_str()).collect();
    for (n, piece) in whole.iter().enumerate().take(30).skip(1) {
        check(&|options| options.max_tokens = n);
        check(&|options| options.stop_ids = vec![piece.token]);
        let stop: String = text.chars().skip(n).take(2).collect();
        check(&|options| options.stop = vec![stop.clone()]);
    }
}

#[test]
fn a_rewound_ring_serves_later_prompts() {
    let params = support::with(support::dense(), "sliding_window", json!(7));
    let model = support::model(&params, 23);
    let encode = |text| model.need_tokenizer().unwrap().encode(text).unwrap();
    let mut session = model.session(limits(8)).unwrap();
    let looking = options(Sampling::default(), lookup());
    let long = encode("a long one, a long one, a long one, a long");
    for cut in (1..long.len()).rev() {
        let (found, _) = generate(&mut session, &long[..cut], &looking);
        let mut fresh = model.session(limits(8)).unwrap();
        let plain = options(Sampling::default(), Speculation::None);
        let (expected, _) = generate(&mut fresh, &long[..cut], &plain);
        assert_eq!(found, expected, "{cut} tokens");
    }
}

#[test]
fn a_draft_changes_no_greedy_token_and_the_model_itself_is_always_right() {
    for (name, params) in support::shapes() {
        let model = support::model(&params, 24);
        let other = support::model(&support::dense().to_string(), 25);
        let prompt = model.need_tokenizer().unwrap().encode("Once upon").unwrap();
        for sampling in &samplings()[..2] {
            let plain = options(*sampling, Speculation::None);
            let mut session = model.session(limits(64)).unwrap();
            let (expected, _) = generate(&mut session, &prompt, &plain);
            let drafting = options(*sampling, Speculation::Draft { tokens: 4 });
            let (found, _) = drafted(&model, &other, &prompt, &drafting);
            assert_eq!(found, expected, "{name} {sampling:?}");
            let (found, counts) = drafted(&model, &model, &prompt, &drafting);
            assert_eq!(found, expected, "{name} {sampling:?} by itself");
            assert_eq!(counts.accepted, counts.drafted, "{name} {sampling:?}");
            // 90 tokens: the prompt's pass, and five tokens a pass but for the last.
            assert_eq!(counts.passes, 1 + 18, "{name} {sampling:?}");
        }
    }
}

#[test]
fn the_model_that_ships_repeats_itself_faster_and_says_the_same() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../assets/tiny-mixtral");
    let model = Model::load(path, &LoadOptions::default()).unwrap();
    let verse = "ROMEO:\nWhat is the matter, my lord?\n\nJULIET:\nI know not what to say.\n\n";
    let prompt = model
        .need_tokenizer()
        .unwrap()
        .encode(&verse.repeat(3))
        .unwrap();
    let mut session = model.session(limits(512)).unwrap();
    let (expected, plain) = generate(
        &mut session,
        &prompt,
        &options(Sampling::default(), Speculation::None),
    );
    let (found, counts) = generate(
        &mut session,
        &prompt,
        &options(Sampling::default(), lookup()),
    );
    assert_eq!(found, expected);
    assert!(counts.passes < plain.passes, "{counts:?} {plain:?}");
    let (found, counts) = drafted(
        &model,
        &model,
        &prompt,
        &options(Sampling::default(), Speculation::Draft { tokens: 6 }),
    );
    assert_eq!(found, expected);
    assert_eq!(counts.accepted, counts.drafted);
}

const LETTERS: usize = 4;
const DRAWN: usize = 4;

/// A model of four token ids.
fn letters(seed: u64) -> Model {
    let params = support::with(support::dense(), "vocab_size", json!(LETTERS));
    support::bare(&params, seed)
}

/// Probability of each continuation of [`DRAWN`] tokens, the first token slowest.
fn exact(model: &Model, prompt: &[u32], sampling: Sampling) -> Vec<f64> {
    let mut session = model.session(limits(64)).unwrap();
    let mut sampler = Sampler::new(sampling, 0).unwrap();
    let mut all = vec![(prompt.to_vec(), 1.0)];
    for _ in 0..DRAWN {
        let mut longer = Vec::new();
        for (tokens, p) in all {
            session.clear(0);
            let logits = session.prefill(0, &tokens).unwrap();
            let mut next = [0.0; LETTERS];
            sampler.probabilities(logits, &tokens, &mut next).unwrap();
            for (id, q) in (0u32..).zip(next) {
                longer.push(([tokens.as_slice(), &[id]].concat(), p * f64::from(q)));
            }
        }
        all = longer;
    }
    all.into_iter().map(|(_, p)| p).collect()
}

/// How often each continuation is drawn, over seeds.
fn histogram<'m>(
    session: &mut Session<'m>,
    draft: &mut Session<'m>,
    prompt: &[u32],
    options: &GenerateOptions,
) -> (Vec<u32>, GenerationCounts) {
    let mut counts = vec![0; LETTERS.pow(DRAWN as u32)];
    let mut last = GenerationCounts::default();
    for seed in 0..12_000 {
        let options = GenerateOptions {
            seed,
            ..options.clone()
        };
        let mut generation = session
            .generate_with_draft(draft, prompt, &options)
            .unwrap();
        let cell = generation.by_ref().fold(0, |cell, piece| {
            cell * LETTERS + piece.unwrap().token as usize
        });
        counts[cell] += 1;
        last.accepted += generation.counts().accepted;
        last.drafted += generation.counts().drafted;
    }
    (counts, last)
}

/// How many standard deviations Pearson's statistic lies above its mean (Wilson and Hilferty).
fn surprise(counts: &[u32], expected: &[f64]) -> f64 {
    let n = f64::from(counts.iter().sum::<u32>());
    let square = |(c, p): (&u32, &f64)| (f64::from(*c) - n * p).powi(2) / (n * p);
    let statistic: f64 = counts.iter().zip(expected).map(square).sum();
    let freedom = (expected.len() - 1) as f64;
    let spread = 2.0 / (9.0 * freedom);
    ((statistic / freedom).cbrt() - (1.0 - spread)) / spread.sqrt()
}

#[test]
fn what_a_draft_helps_to_draw_has_the_distribution_of_plain_sampling() {
    let (model, other) = (letters(31), letters(32));
    let sampling = Sampling {
        temperature: 1.2,
        repetition_penalty: 1.3,
        presence_penalty: 0.1,
        ..Sampling::default()
    };
    let prompt = [0, 1, 2];
    let expected = exact(&model, &prompt, sampling);
    let mut session = model.session(limits(16)).unwrap();
    let mut draft = other.session(limits(16)).unwrap();
    let base = GenerateOptions {
        max_tokens: DRAWN,
        ..options(sampling, Speculation::None)
    };
    let lookup = Speculation::PromptLookup(PromptLookup {
        shortest_match: 1,
        ..PromptLookup::default()
    });
    for speculation in [Speculation::None, Speculation::Draft { tokens: 3 }, lookup] {
        let options = GenerateOptions {
            speculation,
            ..base.clone()
        };
        let (drawn, counts) = histogram(&mut session, &mut draft, &prompt, &options);
        let above = surprise(&drawn, &expected);
        assert!(above < 3.5, "{speculation:?}: {above} deviations");
        let some = speculation == Speculation::None || counts.accepted > 1000;
        assert!(some && counts.drafted >= counts.accepted, "{counts:?}");
    }
    // The test can fail: what the draft draws is told apart.
    let mut again = other.session(limits(16)).unwrap();
    let (drawn, _) = histogram(&mut draft, &mut again, &prompt, &base);
    assert!(surprise(&drawn, &expected) > 10.0);
}

#[test]
fn what_cannot_be_guessed_is_refused() {
    let model = support::model(&support::dense().to_string(), 41);
    let mut session = model.session(limits(64)).unwrap();
    let looking = |tokens, longest_match, shortest_match| {
        Speculation::PromptLookup(PromptLookup {
            tokens,
            longest_match,
            shortest_match,
        })
    };
    let rows = [
        (looking(0, 3, 1), "`speculation.tokens` = 0"),
        (looking(16, 3, 1), "`speculation.tokens` = 16"),
        (looking(6, 65, 1), "`speculation.longest_match` = 65"),
        (looking(6, 3, 0), "`speculation.shortest_match` = 0"),
        (looking(6, 3, 4), "`speculation.shortest_match` = 4"),
        (Speculation::Draft { tokens: 0 }, "`speculation.tokens` = 0"),
        (Speculation::Draft { tokens: 2 }, "no session of a draft"),
    ];
    for (speculation, named) in rows {
        let options = options(Sampling::default(), speculation);
        let refused = session.generate(&[20], &options).map(|_| ());
        let error = refused.expect_err(named).to_string();
        assert!(error.contains(named), "{named}: {error}");
    }
    let mut narrow = model.session(SessionLimits::default()).unwrap();
    let options = options(Sampling::default(), lookup());
    let error = narrow.generate(&[20], &options).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("`max_logits` = 1"), "{error}");
    let small = letters(1);
    let mut draft = small.session(limits(64)).unwrap();
    let error = session
        .generate_with_draft(&mut draft, &[20], &options)
        .map(|_| ())
        .unwrap_err();
    assert!(
        matches!(
            error,
            InferError::DraftVocabulary {
                expected: 266,
                found: 4
            }
        ),
        "{error}"
    );
    let mut short = model
        .session(SessionLimits {
            max_seq_len: Some(8),
            ..limits(8)
        })
        .unwrap();
    let refused = session.generate_with_draft(&mut short, &[20], &options);
    let error = refused.map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("`max_seq_len` = 8"), "{error}");
}
