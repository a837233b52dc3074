//! The worker's loop: sequences join, go on together, and leave.

use std::collections::BTreeMap;

use mistral_infer::{Batch, GenerateOptions, Piece, Session};

use crate::backend::{Event, Finish, Job, Sampling};
use crate::mistral::failed;
use crate::worker::{Jobs, Taken};

/// Answers jobs in the sequences of `session` until there are none any more. Between two steps new
/// jobs are admitted, and those that no one waits for are taken out.
pub(crate) fn work(session: &mut Session<'_>, jobs: &Jobs) {
    let slots = session.max_sequences();
    let mut batch = Batch::new(session);
    let mut running: BTreeMap<usize, Taken> = BTreeMap::new();
    loop {
        while running.len() < slots {
            let job = if running.is_empty() {
                match jobs.wait() {
                    Some(job) => job,
                    None => return,
                }
            } else {
                match jobs.ready() {
                    Some(job) => job,
                    None => break,
                }
            };
            admit(&mut batch, &mut running, job);
        }
        running.retain(|id, job| match jobs.end_of(job) {
            None => true,
            Some(end) => {
                batch.cancel(*id);
                end.tell(job);
                false
            }
        });
        step(&mut batch, &mut running);
    }
}

fn admit(batch: &mut Batch<'_, '_>, running: &mut BTreeMap<usize, Taken>, mut job: Taken) {
    let constraint = job.constraint();
    match batch.admit_constrained(&job.prompt, &options(&job), constraint) {
        Ok(id) => {
            running.insert(id, job);
        }
        Err(error) => send(&job, Event::Failed(failed(&error))),
    }
}

/// One pass over all sequences. What fails is the sequence that is at fault.
fn step(batch: &mut Batch<'_, '_>, running: &mut BTreeMap<usize, Taken>) {
    match batch.step_apart() {
        Ok(step) => {
            for piece in step.pieces {
                give(running, piece);
            }
            for (id, error) in step.failed {
                if let Some(job) = running.remove(&id) {
                    send(&job, Event::Failed(failed(&error)));
                }
            }
        }
        Err(error) => {
            for job in std::mem::take(running).into_values() {
                send(&job, Event::Failed(failed(&error)));
            }
        }
    }
}

fn give(running: &mut BTreeMap<usize, Taken>, piece: Piece) {
    let Some(job) = running.get(&piece.sequence) else {
        return;
    };
    let token = Event::Piece {
        token: piece.token,
        text: piece.text,
    };
    send(job, token);
    let finish = match piece.finish {
        None => return,
        Some(mistral_infer::Finish::EndOfSequence | mistral_infer::Finish::StopString) => {
            Finish::Stop
        }
        Some(_) => Finish::Length,
    };
    send(job, Event::Done(finish));
    running.remove(&piece.sequence);
}

/// A client that has left needs no answer: its job is taken out before the next step.
fn send(job: &Job, event: Event) {
    let _ = job.events.send(event);
}

fn options(job: &Job) -> GenerateOptions {
    GenerateOptions {
        max_tokens: job.max_tokens,
        sampling: sampling(&job.sampling),
        seed: job.seed,
        stop: job.stop.clone(),
        ..GenerateOptions::default()
    }
}

fn sampling(own: &Sampling) -> mistral_infer::Sampling {
    mistral_infer::Sampling {
        temperature: own.temperature,
        top_k: own.top_k,
        top_p: own.top_p,
        min_p: own.min_p,
        repetition_penalty: own.repetition_penalty,
        frequency_penalty: own.frequency_penalty,
        presence_penalty: own.presence_penalty,
    }
}
