//! Continuous batching: sequences join, leave and end, and don't see each other.

mod support;

use std::collections::BTreeMap;

use mistral_core::model::ModelSpec;
use mistral_infer::weights::{Checkpoint, WeightStorage};
use mistral_infer::{
    Batch, Constraint, EndOfSequence, Finish, GenerateOptions, InferError, Model, Piece, Progress,
    PromptLookup, Sampling, SessionLimits, Speculation,
};
use safetensors::SafeTensors;

fn limits(max_sequences: usize, max_batch_tokens: usize) -> SessionLimits {
    SessionLimits {
        max_sequences,
        max_batch_tokens,
        max_logits: 32,
        ..SessionLimits::default()
    }
}

fn prompt(model: &Model, text: &str) -> Vec<u32> {
    model.need_tokenizer().unwrap().encode(text).unwrap()
}

/// Options that differ in everything, by number.
fn options(i: usize) -> GenerateOptions {
    GenerateOptions {
        max_tokens: 10 + 7 * i,
        sampling: Sampling {
            temperature: [0.0, 0.7, 1.0][i % 3],
            repetition_penalty: [1.0, 1.1][i % 2],
            ..Sampling::default()
        },
        seed: i as u64,
        stop: [vec![], vec!["e".to_owned(), "th".to_owned()]][usize::from(i == 4)].clone(),
        end: EndOfSequence::Ignored,
        speculation: match i % 2 {
            0 => Speculation::PromptLookup(PromptLookup {
                tokens: 1 + i % 3,
                shortest_match: 1,
                ..PromptLookup::default()
            }),
            _ => Speculation::None,
        },
        ..GenerateOptions::default()
    }
}

/// Pieces by sequence.
type Drawn = BTreeMap<usize, Vec<Piece>>;

fn keep(drawn: &mut Drawn, pieces: Vec<Piece>) {
    for piece in pieces {
        drawn.entry(piece.sequence).or_default().push(piece);
    }
}

const TEXTS: [&str; 7] = [
    "a",
    "the first of them, which is the longest of all these prompts",
    "be or not to be or not",
    "middle one",
    "that that that",
    "x",
    "the last of them",
];

#[test]
fn a_sequence_draws_in_company_what_it_draws_alone() {
    for (name, params) in support::shapes() {
        let model = support::model(&params, 51);
        let prompts = TEXTS.map(|text| prompt(&model, text));
        let alone: Vec<Vec<Piece>> = prompts
            .iter()
            .enumerate()
            .map(|(i, prompt)| {
                let mut session = model.session(limits(1, 64)).unwrap();
                let generation = session.generate(prompt, &options(i)).unwrap();
                let own = |piece: Piece| Piece {
                    sequence: i,
                    ..piece
                };
                generation.map(|piece| own(piece.unwrap())).collect()
            })
            .collect();
        // Passes of 12 tokens: prompts take several. Three sequences: the others wait for room.
        for (sequences, tokens) in [(3, 12), (7, 64)] {
            let mut session = model.session(limits(sequences, tokens)).unwrap();
            let mut batch = Batch::new(&mut session);
            let mut drawn = Drawn::new();
            let mut waiting = prompts.iter().enumerate();
            loop {
                if batch.len() < sequences
                    && let Some((i, prompt)) = waiting.next()
                {
                    assert_eq!(batch.admit(prompt, &options(i)).unwrap(), i);
                }
                if batch.is_empty() {
                    break;
                }
                keep(&mut drawn, batch.step().unwrap());
            }
            let together: Vec<Vec<Piece>> = drawn.into_values().collect();
            assert_eq!(together, alone, "{name}, {sequences} sequences");
        }
    }
}

#[test]
fn a_long_prompt_is_computed_beside_sequences_that_write() {
    let model = support::model(&support::dense().to_string(), 52);
    let mut session = model.session(limits(2, 8)).unwrap();
    let mut batch = Batch::new(&mut session);
    let writing = batch
        .admit(
            &[20],
            &GenerateOptions {
                max_tokens: 40,
                ..options(1)
            },
        )
        .unwrap();
    assert_eq!(batch.step().unwrap().len(), 1);
    let late = batch.admit(&[30; 60], &options(1)).unwrap();
    // Seven tokens of the prompt a pass: the ninth computes its last.
    for pass in 1..=9 {
        let pieces = batch.step().unwrap();
        let count = |id| pieces.iter().filter(|p| p.sequence == id).count();
        assert_eq!(count(writing), 1, "pass {pass}");
        assert_eq!(count(late), usize::from(pass == 9), "pass {pass}");
    }
}

#[test]
fn cancelled_sequences_leave_room_and_their_cache() {
    let model = support::model(&support::dense().to_string(), 53);
    let mut session = model.session(limits(2, 64)).unwrap();
    let mut batch = Batch::new(&mut session);
    let prompts = TEXTS.map(|text| prompt(&model, text));
    let first = batch.admit(&prompts[1], &options(1)).unwrap();
    let second = batch.admit(&prompts[2], &options(2)).unwrap();
    let error = batch.admit(&prompts[3], &options(3)).unwrap_err();
    assert!(error.to_string().contains("`max_sequences` = 3"), "{error}");
    batch.step().unwrap();
    assert!(batch.cancel(first));
    assert!(!batch.cancel(first));
    assert_eq!(batch.len(), 1);
    let pieces = batch.step().unwrap();
    assert!(!pieces.is_empty() && pieces.iter().all(|p| p.sequence == second));
    let again = batch.admit(&prompts[1], &options(1)).unwrap();
    assert_ne!(again, first);
    let before = batch.counts().passes;
    let mut drawn = Drawn::new();
    while !batch.is_empty() {
        keep(&mut drawn, batch.step().unwrap());
    }
    assert!(batch.counts().passes > before);
    assert_eq!(drawn[&again].len(), 17);
    assert_eq!(drawn[&again][16].finish, Some(Finish::MaxTokens));
    // The sequence that was cancelled had its prompt cached, and serves it again.
    assert_eq!(session.tokens(0)[..prompts[1].len()], prompts[1]);
}

#[test]
fn a_batch_refuses_what_its_passes_cannot_hold() {
    let model = support::model(&support::dense().to_string(), 54);
    let narrow = SessionLimits {
        max_logits: 5,
        ..limits(4, 64)
    };
    let mut session = model.session(narrow).unwrap();
    let mut batch = Batch::new(&mut session);
    batch.admit(&[20], &options(2)).unwrap();
    let error = batch.admit(&[20], &options(4)).unwrap_err().to_string();
    assert!(
        error.contains("`max_logits` = 5, expected at least 7"),
        "{error}"
    );
    let nothing = GenerateOptions {
        max_tokens: 0,
        ..options(1)
    };
    let none = batch.admit(&[20], &nothing).unwrap();
    assert_eq!(batch.len(), 1);
    while !batch.is_empty() {
        assert!(batch.step().unwrap().iter().all(|p| p.sequence != none));
    }
    assert_eq!(batch.step().unwrap(), []);
}

#[test]
fn a_busy_sequence_lends_its_prompt() {
    for (name, params) in support::shapes() {
        let model = support::model(&params, 55);
        let common = prompt(&model, "instructions that every prompt begins with");
        let prompts: Vec<Vec<u32>> = ["a", "b", "c"]
            .map(|end| [&common[..], &prompt(&model, end)].concat())
            .into();
        let mut alone = Vec::new();
        for prompt in &prompts {
            let mut session = model.session(limits(1, 48)).unwrap();
            let text = session.generate(prompt, &options(1)).unwrap().into_text();
            alone.push(text.unwrap());
        }
        let mut session = model.session(limits(4, 48)).unwrap();
        let mut batch = Batch::new(&mut session);
        let mut texts = vec![String::new(); 3];
        let mut keep = |pieces: Vec<Piece>| {
            for piece in pieces {
                texts[piece.sequence].push_str(&piece.text);
            }
        };
        // The first is computed in one pass. The others then need one pass for both ends.
        batch.admit(&prompts[0], &options(1)).unwrap();
        keep(batch.step().unwrap());
        for prompt in &prompts[1..] {
            batch.admit(prompt, &options(1)).unwrap();
        }
        let pieces = batch.step().unwrap();
        assert_eq!(pieces.len(), 3, "{name}: all go on");
        keep(pieces);
        while !batch.is_empty() {
            keep(batch.step().unwrap());
        }
        assert_eq!(texts, alone, "{name}");
    }
}

#[test]
fn prompts_that_come_together_are_computed_once() {
    let model = support::model(&support::dense().to_string(), 56);
    let common = prompt(&model, &"the same beginning. ".repeat(6));
    let mut session = model.session(limits(4, 16)).unwrap();
    let prompts = ["a", "b", "c", "d"].map(|end| [&common[..], &prompt(&model, end)].concat());
    let prompts = prompts.each_ref().map(Vec::as_slice);
    let options = GenerateOptions {
        max_tokens: 1,
        end: EndOfSequence::Ignored,
        ..GenerateOptions::default()
    };
    let mut generation = session.generate_batch(&prompts, &options).unwrap();
    assert_eq!(generation.by_ref().count(), 4);
    // 121 tokens in pieces of 16 make 8 passes; four times that would be 32.
    assert!(
        generation.counts().passes <= 10,
        "{:?}",
        generation.counts()
    );
}

#[test]
fn a_prompt_goes_where_it_forgets_least() {
    let model = support::model(&support::dense().to_string(), 57);
    let mut session = model.session(limits(3, 64)).unwrap();
    let one = GenerateOptions {
        max_tokens: 1,
        ..GenerateOptions::default()
    };
    let mut ask = |text: &str| {
        let prompt = prompt(&model, text);
        session
            .generate(&prompt, &one)
            .unwrap()
            .into_text()
            .unwrap();
        let tokenizer = model.need_tokenizer().unwrap();
        [0, 1, 2].map(|i| tokenizer.decode(session.tokens(i)).unwrap())
    };
    ask("a long first question");
    assert_eq!(ask("another"), ["a long first question", "another", ""]);
    // A copy of its beginning in an empty place.
    let held = ask("a long second question");
    assert_eq!(
        held,
        ["a long first question", "another", "a long second question"]
    );
    // Going on in place forgets nothing.
    let held = ask("a long second question and more");
    assert_eq!(held[2], "a long second question and more");
    // All are taken: the shortest goes.
    let held = ask("what is new");
    assert_eq!(
        held,
        [
            "a long first question",
            "what is new",
            "a long second question and more"
        ]
    );
}

/// A model in whose embedding the row of `token` isn't a number.
fn poisoned(params: &str, token: u32) -> Model {
    let dir = tempfile::tempdir().unwrap();
    support::write(dir.path(), params, 57);
    let path = dir.path().join("consolidated.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    let spec = ModelSpec::from_params(params).unwrap();
    let begin = {
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let table = tensors.tensor("tok_embeddings.weight").unwrap();
        let at = table.data().as_ptr() as usize - bytes.as_ptr() as usize;
        at + token as usize * table.shape()[1] * size_of::<f32>()
    };
    bytes[begin..][..size_of::<f32>()].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(&path, bytes).unwrap();
    let weights = Checkpoint::open(dir.path(), WeightStorage::Copied).unwrap();
    Model::from_parts(spec, &weights, Some(support::tokenizer()), 1).unwrap()
}

/// Can't say what may follow.
struct Mute;

impl Constraint for Mute {
    fn mask(&mut self, _: &mut [f32]) -> Result<(), InferError> {
        Err(InferError::EmptyPrompt)
    }

    fn accept(&mut self, _: u32) -> Result<Progress, InferError> {
        Ok(Progress::Open)
    }
}

/// Logits that aren't numbers fail a sequence alone, a router's the whole pass, and a constraint's
/// error comes between.
#[test]
fn a_sequence_that_fails_leaves_the_others_as_they_are() {
    let greedy = GenerateOptions {
        max_tokens: 12,
        end: EndOfSequence::Ignored,
        ..GenerateOptions::default()
    };
    for (name, params) in support::shapes() {
        let healthy = support::model(&params, 57);
        let texts = ["be or not", "x"].map(|text| prompt(&healthy, text));
        let alone = texts.each_ref().map(|text| {
            let mut session = healthy.session(limits(1, 64)).unwrap();
            let generation = session.generate(text, &greedy).unwrap();
            let tokens = generation.map(|piece| piece.unwrap().token);
            tokens.collect::<Vec<u32>>()
        });
        let used = |id: &u32| texts.iter().chain(&alone).any(|ids| ids.contains(id));
        let bytes = support::CONTROL_TOKENS as u32..support::VOCAB as u32;
        let bad = bytes.rev().find(|id| !used(id)).unwrap();
        let model = poisoned(&params, bad);
        let bad = [&texts[1][..], &[bad]].concat();
        let mut session = model.session(limits(4, 64)).unwrap();
        let mut batch = Batch::new(&mut session);
        let first = batch.admit(&texts[0], &greedy).unwrap();
        let poisoned = batch.admit(&bad, &greedy).unwrap();
        let mute = batch.admit_constrained(&texts[0], &greedy, Some(Box::new(Mute)));
        let second = batch.admit(&texts[1], &greedy).unwrap();
        let mut drawn = Drawn::new();
        let mut failed = Vec::new();
        for _ in 0..100 {
            let step = batch.step_apart().unwrap();
            keep(&mut drawn, step.pieces);
            failed.extend(step.failed.into_iter().map(|(id, _)| id));
            if batch.is_empty() {
                break;
            }
        }
        assert!(batch.is_empty(), "{name}");
        failed.sort_unstable();
        assert_eq!(failed, [poisoned, mute.unwrap()], "{name}");
        let tokens = |id| -> Vec<u32> { drawn[&id].iter().map(|piece| piece.token).collect() };
        assert_eq!([tokens(first), tokens(second)], alone, "{name}");

        // Strangers or not is the caller's choice: here they all leave.
        batch.admit(&texts[0], &greedy).unwrap();
        batch.admit(&bad, &greedy).unwrap();
        batch.step().expect_err(name);
        assert!(batch.is_empty(), "{name}");
    }
}
