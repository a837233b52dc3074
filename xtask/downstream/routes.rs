//! Sends four tokens to two of eight experts each, and tells how evenly the experts are loaded.
use mistral_kernels::{KernelError, Router, Routing, route};

const TOKENS: usize = 4;
const EXPERTS: usize = 8;

fn main() -> Result<(), KernelError> {
    let logits: Vec<f32> = (0..TOKENS * EXPERTS)
        .map(|i| (i as f32 * 0.7).sin())
        .collect();
    let mut routing = Routing::new(TOKENS, 2);
    route(&Router::softmax(EXPERTS, 2), &logits, None, &mut routing)?;
    for (experts, weights) in routing.experts().chunks(2).zip(routing.weights().chunks(2)) {
        assert!((weights.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        println!("experts {experts:?} weights {weights:?}");
    }
    println!(
        "tokens of each expert {:?}",
        routing.load(EXPERTS).tokens_per_expert
    );
    Ok(())
}
