//! DS-1000 (Lai et al., 2022): data-science programs written by a model, judged by running them.
//!
//! [`load`] reads problems in the benchmark's simplified format, one JSON object a line; [`ask()`] lets any
//! `TextGenerator` write programs; [`answers`] does with a reply what the benchmark's own script does;
//! [`examine`] runs programs in sandboxed children, several at once; [`Report`] counts.
//!
//! The machine is protected by the kernel (limits, Landlock, seccomp, namespaces: [`Ready`] says which of
//! them hold). The verdict is protected inside of the interpreter, as far as a process can examine code that
//! runs in itself: see `runner/guard.py`.

pub mod answers;
mod ask;
mod error;
mod modules;
mod pool;
mod problem;
#[cfg(feature = "remote")]
mod remote;
mod report;
mod sandbox;
mod score;

pub use ask::{Asked, Asking, ask};
pub use error::Ds1000Error;
pub use modules::{module_of, modules, submodules};
pub use pool::{Examined, Task, examine};
pub use problem::{FileLimits, Problem, load, parse};
#[cfg(feature = "remote")]
pub use remote::Remote;
pub use report::{Line, Report};
pub use sandbox::{Job, JobLimits, Kind, Ready, Sandbox, Setup, Verdict};
pub use score::pass_at_k;
