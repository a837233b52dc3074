//! Caches of each type: what they change, and that they rewind and wrap as others do.

mod support;

use mistral_infer::{
    CacheType, EndOfSequence, GenerateOptions, LoadOptions, LogitRows, Model, Run, Session,
    SessionLimits,
};

const TINY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../assets/tiny-mixtral");
const TEXT: &str = include_str!("../testdata/held_out.txt");

fn session(model: &Model, cache: CacheType, max_batch_tokens: usize) -> Session<'_> {
    let limits = SessionLimits {
        max_batch_tokens,
        max_logits: 64,
        cache: Some(cache),
        ..SessionLimits::default()
    };
    model.session(limits).expect("a session")
}

fn forward(session: &mut Session<'_>, tokens: &[u32], step: usize) -> Vec<f32> {
    let mut logits = Vec::new();
    for tokens in tokens.chunks(step) {
        let run = Run {
            sequence: 0,
            tokens,
            logits: LogitRows::All,
        };
        logits.extend_from_slice(session.forward(&[run]).expect("finite logits"));
    }
    logits
}

/// Root mean square of the difference, as a share of `x`.
fn off(x: &[f32], y: &[f32]) -> f64 {
    let square = |x: f32| f64::from(x) * f64::from(x);
    let all: f64 = x.iter().map(|x| square(*x)).sum();
    let off: f64 = x.iter().zip(y).map(|(x, y)| square(x - y)).sum();
    (off / all).sqrt()
}

fn best(row: &[f32]) -> Option<usize> {
    let ids = row.iter().enumerate();
    ids.max_by(|a, b| a.1.total_cmp(b.1)).map(|(id, _)| id)
}

#[test]
fn bytes_move_the_tiny_models_logits_little() {
    let model = Model::load(TINY, &LoadOptions::default()).expect("the model ships with us");
    let ids = model.need_tokenizer().unwrap().encode(TEXT).expect("ids");
    let (ids, vocab) = (&ids[..200], model.spec().vocab_size);
    for step in [1, 50] {
        let exact = forward(&mut session(&model, CacheType::F32, 64), ids, step);
        let found = forward(&mut session(&model, CacheType::Q8, 64), ids, step);
        let far = off(&exact, &found);
        assert!(far < 0.01, "{step} tokens a pass: {far}");
        let rows = exact.chunks(vocab).zip(found.chunks(vocab));
        let same = rows.filter(|(a, b)| best(a) == best(b)).count();
        assert!(same >= 190, "{step} tokens a pass: {same} of 200 tokens");
    }
}

#[test]
fn greedy_text_stays_mostly_the_same() {
    let model = Model::load(TINY, &LoadOptions::default()).expect("the model ships with us");
    let tokenizer = model.need_tokenizer().unwrap();
    let options = GenerateOptions {
        max_tokens: 32,
        end: EndOfSequence::Ignored,
        ..GenerateOptions::default()
    };
    let (mut same, mut all) = (0, 0);
    for prompt in TEXT.split_inclusive('.').filter(|t| t.len() > 40).take(8) {
        let ids = tokenizer.encode(prompt).expect("ids");
        let draw = |cache| -> Vec<u32> {
            let mut session = session(&model, cache, 64);
            let pieces = session.generate(&ids, &options).expect("a prompt");
            pieces.map(|piece| piece.expect("a piece").token).collect()
        };
        let (exact, found) = (draw(CacheType::F32), draw(CacheType::Q8));
        same += exact.iter().zip(&found).take_while(|(a, b)| a == b).count();
        all += exact.len();
    }
    assert!(
        same * 10 >= all * 7,
        "{same} of {all} tokens before a text parts"
    );
}

#[test]
fn every_shape_runs_on_every_type() {
    for (name, params) in support::shapes() {
        let model = support::model(&params, 2);
        let tokens: Vec<u32> = (0..90u32).map(|i| 10 + (i * i * 7 + i) % 256).collect();
        let exact = forward(&mut session(&model, CacheType::F32, 8), &tokens, 8);
        for (kind, most) in [
            (CacheType::F16, 0.01),
            (CacheType::Bf16, 0.05),
            (CacheType::Q8, 0.05),
        ] {
            let mut session = session(&model, kind, 8);
            let pieces = forward(&mut session, &tokens, 8);
            let far = off(&exact, &pieces);
            assert!(far < most, "{name} {kind:?}: {far}");
            // Behind a window, a ring may have lost what a rewind needs.
            session.clear(0);
            let first = forward(&mut session, &tokens[..40], 1);
            let kept = session.keep_prefix(0, &tokens[..33]);
            let again = forward(&mut session, &tokens[kept..40], 1);
            let rows = first.len() / 40;
            assert!(kept <= 33, "{name} {kind:?}: {kept} kept");
            let far = off(&first[kept * rows..], &again);
            assert!(far < 1e-5, "{name} {kind:?} from {kept}: {far}");
        }
    }
}
