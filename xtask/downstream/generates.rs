//! Continues a line with the model in the folder given.
use mistral_infer::{GenerateOptions, InferError, LoadOptions, Model, SessionLimits};

fn main() -> Result<(), InferError> {
    let folder = std::env::args().nth(1).expect("the model's folder");
    let model = Model::load(&folder, &LoadOptions::default())?;
    let prompt = model.need_tokenizer()?.encode("ROMEO:\n")?;
    let mut session = model.session(SessionLimits::default())?;
    let options = GenerateOptions {
        max_tokens: 40,
        ..GenerateOptions::default()
    };
    for piece in session.generate(&prompt, &options)? {
        print!("{}", piece?.text);
    }
    println!();
    Ok(())
}
