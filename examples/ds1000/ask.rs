//! A language model writes the programs.

use super::answers::{Extraction, STOPS, program};
use super::{Ds1000Error, Problem, Task};
use mistral_core::llm::{Message, TextError, TextGenerator, TextOptions};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Sender;

/// What the benchmark's prompts leave unsaid to a model that chats.
const INSTRUCTION: &str = "Complete the program. Answer with Python code only, which replaces what is \
    missing between <code> and </code>, in the given format and indentation and without explanations. \
    Don't repeat code that the problem already shows.";

/// How a model is asked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Asking {
    /// Programs for each problem.
    pub samples: u32,
    /// The first sample's seed; the next ones count up.
    pub seed: u64,
    /// Longest reply.
    pub max_tokens: u32,
    /// 0 takes the likeliest token, which makes all samples equal.
    pub temperature: f32,
    /// Smallest set of likeliest tokens with this probability.
    pub top_p: f32,
    /// Which part of a reply is the program.
    pub extraction: Extraction,
}

/// What asking came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Asked {
    /// Replies.
    pub replies: u64,
    /// Tokens generated, where the generator counts them.
    pub output_tokens: u64,
}

/// Asks for `samples` programs for each problem in `chosen`, all generators at once, and sends each as it
/// comes. A prompt that a generator can't take is a task without a solution.
///
/// # Errors
/// [`Ds1000Error::Generator`] for any other failure: a model that isn't there has no pass rate.
pub fn ask(
    generators: &mut [Box<dyn TextGenerator + Send + '_>],
    problems: &[Problem],
    chosen: &[usize],
    asking: &Asking,
    tasks: &Sender<Task>,
) -> Result<Asked, Ds1000Error> {
    let next = AtomicUsize::new(0);
    let samples = asking.samples as usize;
    let total = chosen.len() * samples;
    std::thread::scope(|scope| {
        let threads: Vec<_> = generators
            .iter_mut()
            .map(|generator| {
                let next = &next;
                let tasks = tasks.clone();
                scope.spawn(move || -> Result<Asked, Ds1000Error> {
                    let mut asked = Asked::default();
                    loop {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        if at >= total {
                            return Ok(asked);
                        }
                        let (problem, sample) = (chosen[at / samples], (at % samples) as u32);
                        let reply =
                            reply_to(generator.as_mut(), &problems[problem], sample, asking);
                        let solution = reply.inspect_err(|_| {
                            // The others need not go on.
                            next.store(total, Ordering::Relaxed);
                        })?;
                        asked.replies += 1;
                        asked.output_tokens += solution.1;
                        let task = Task {
                            problem,
                            sample,
                            solution: solution.0,
                        };
                        if tasks.send(task).is_err() {
                            return Ok(asked);
                        }
                    }
                })
            })
            .collect();
        let mut all = Asked::default();
        for thread in threads {
            let asked = thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            all.replies += asked.replies;
            all.output_tokens += asked.output_tokens;
        }
        Ok(all)
    })
}

/// A program or why there is none, and the tokens that it took.
fn reply_to(
    generator: &mut dyn TextGenerator,
    problem: &Problem,
    sample: u32,
    asking: &Asking,
) -> Result<(Result<String, String>, u64), Ds1000Error> {
    let messages = [
        Message::system(INSTRUCTION),
        Message::user(problem.prompt.as_str()),
    ];
    let options = TextOptions {
        max_tokens: asking.max_tokens,
        temperature: asking.temperature,
        top_p: asking.top_p,
        seed: asking.seed.wrapping_add(u64::from(sample)),
        stop: STOPS.map(str::to_owned).to_vec(),
        json_schema: None,
    };
    match generator.generate(&messages, &options) {
        Ok(answer) => Ok((
            Ok(program(&answer.text, asking.extraction)),
            answer.output_tokens.unwrap_or(0).into(),
        )),
        Err(error @ TextError::PromptTooLong { .. }) => Ok((Err(error.to_string()), 0)),
        Err(source) => Err(Ds1000Error::Generator {
            id: problem.id.clone(),
            source,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mistral_core::llm::{FinishReason, TextAnswer};
    use std::ops::ControlFlow;
    use std::sync::mpsc::channel;

    /// Says its seed; refuses long prompts and fails on demand.
    struct Seeds;

    impl TextGenerator for Seeds {
        fn name(&self) -> &str {
            "seeds"
        }

        fn generate_streaming(
            &mut self,
            messages: &[Message],
            options: &TextOptions,
            _: &mut dyn FnMut(&str) -> ControlFlow<()>,
        ) -> Result<TextAnswer, TextError> {
            let prompt = &messages[messages.len() - 1].content;
            match prompt.as_str() {
                "long" => Err(TextError::PromptTooLong { limit: 1, found: 2 }),
                "down" => Err(TextError::Status {
                    generator: "seeds".to_owned(),
                    status: 500,
                }),
                _ => Ok(TextAnswer {
                    text: format!("```python\n{}\n```", options.seed),
                    finish: FinishReason::Eos,
                    prompt_tokens: None,
                    output_tokens: Some(3),
                }),
            }
        }
    }

    fn problem(prompt: &str) -> Problem {
        Problem {
            id: prompt.to_owned(),
            library: "Numpy".to_owned(),
            perturbation: String::new(),
            prompt: prompt.to_owned(),
            reference_code: String::new(),
            code_context: String::new(),
        }
    }

    const ASKING: Asking = Asking {
        samples: 2,
        seed: 7,
        max_tokens: 8,
        temperature: 0.0,
        top_p: 1.0,
        extraction: Extraction::Block,
    };

    #[test]
    fn each_sample_has_its_seed_and_a_long_prompt_no_solution() {
        let problems = [problem("a"), problem("unasked"), problem("long")];
        let (send, tasks) = channel();
        let mut generators: Vec<Box<dyn TextGenerator + Send>> =
            vec![Box::new(Seeds), Box::new(Seeds)];
        let asked = ask(&mut generators, &problems, &[0, 2], &ASKING, &send).expect("all answer");
        drop(send);
        assert_eq!(asked.replies, 4);
        assert_eq!(asked.output_tokens, 6);
        let mut got: Vec<Task> = tasks.iter().collect();
        got.sort_by_key(|t| (t.problem, t.sample));
        let solutions: Vec<_> = got.iter().map(|t| t.solution.as_deref()).collect();
        assert_eq!(solutions[..2], [Ok("7\n"), Ok("8\n")]);
        assert!(solutions[2].is_err() && solutions[3].is_err());
    }

    #[test]
    fn a_model_that_is_not_there_is_an_error() {
        let problems = [problem("a"), problem("down")];
        let (send, _tasks) = channel();
        let mut generators: Vec<Box<dyn TextGenerator + Send>> = vec![Box::new(Seeds)];
        let error = ask(&mut generators, &problems, &[0, 1], &ASKING, &send);
        assert!(matches!(error, Err(Ds1000Error::Generator { id, .. }) if id == "down"));
    }
}
