//! The checks of CUDA kernels on a machine that needn't have a GPU.
//!
//! `nvcc` compiles every source for sm_80, sm_90a and the plan's own device, and its assembler's registers, spills
//! and shared memory go into the verdict. `g++` compiles the same sources with `emulate.h` for a small model of
//! the same kind (ratio of heads, number of chosen experts, format of weights, and the schedules as far as they
//! fit), and the test is run. Rules that a reader of the text can check are built in.

use std::path::Path;
use std::time::Duration;

use mistral_core::files::FileSet;
use mistral_core::plan::Plan;
use serde::Serialize;

use super::child::Job;
use super::{Check, Checkers, Verdict, plan_of};
use crate::CodegenError;
use crate::targets::cuda::{Limits, reduced_shape};

/// Bytes that a thread may spill before a schedule is refused.
pub const MOST_SPILLED: u32 = 32;
/// Time for a compiler or a run of the small model.
const TIME: Duration = Duration::from_secs(180);
/// Sources that are compiled; the others are included by them.
const UNITS: [&str; 2] = ["launch.cu", "test.cu"];

/// What one kernel takes on one architecture, as the assembler says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KernelUse {
    /// The kernel, with its schedule's name.
    pub kernel: String,
    /// The architecture, `sm_90a`.
    pub arch: String,
    /// Registers a thread.
    pub registers: u32,
    /// Bytes a thread that are written to and read from memory for want of registers.
    pub spilled_bytes: u32,
    /// Shared memory whose size is known to the compiler, in bytes a block; the launch adds its own.
    pub shared_bytes: u32,
}

pub(super) fn check(
    files: &FileSet,
    folder: &Path,
    checkers: &Checkers,
    verdict: &mut Verdict,
) -> Result<(), CodegenError> {
    for file in files.iter() {
        let path = file.path.as_str();
        if path.ends_with(".cu") || path.ends_with(".cuh") {
            verdict.judge(path, "kernel rules", broken_rules(path, &file.contents));
        }
    }
    let plan = plan_of(files);
    let own = plan
        .as_ref()
        .and_then(|p| Limits::of(p).ok())
        .map(|l| l.arch());
    compile(folder, checkers, own.as_deref(), verdict)?;
    emulate(files, plan.as_ref(), folder, checkers, verdict)
}

/// Compiles each unit for each architecture.
fn compile(
    folder: &Path,
    checkers: &Checkers,
    own: Option<&str>,
    verdict: &mut Verdict,
) -> Result<(), CodegenError> {
    let own = own
        .filter(|arch| !["80", "90a"].contains(arch))
        .map(|arch| ("nvcc device", arch));
    for (tool, arch) in [("nvcc sm_80", "80"), ("nvcc sm_90a", "90a")]
        .into_iter()
        .chain(own)
    {
        let arch = format!("-arch=sm_{arch}");
        for unit in UNITS {
            let arguments = [
                "-std=c++17",
                "-O3",
                "-Xptxas",
                "-v",
                "-Werror",
                "all-warnings",
                &arch,
                "-c",
                unit,
                "-o",
                "unit.o",
            ];
            let job = Job {
                time: TIME,
                ..Job::new(tool, &arguments, folder)
            };
            let Some(ended) = job.end(checkers)? else {
                verdict.add(unit, None, "nvcc");
                continue;
            };
            let printed = format!("{}{}", ended.stdout, ended.stderr);
            let used = resources(&printed);
            let spilling = used.iter().find(|k| k.spilled_bytes > MOST_SPILLED);
            let detail = match spilling {
                _ if !ended.succeeded() => printed,
                Some(k) => format!(
                    "{} spills {} bytes on {}, at most {MOST_SPILLED}",
                    k.kernel, k.spilled_bytes, k.arch
                ),
                None => String::new(),
            };
            verdict.add(unit, Some(Check::of(tool, detail)), tool);
            verdict.kernels.extend(used);
        }
    }
    Ok(())
}

/// Compiles the sources with the emulation for a small model, and runs the test.
fn emulate(
    files: &FileSet,
    plan: Option<&Plan>,
    folder: &Path,
    checkers: &Checkers,
    verdict: &mut Verdict,
) -> Result<(), CodegenError> {
    let tool = "g++ emulation";
    let Some(plan) = plan else { return Ok(()) };
    let small = folder.join("small");
    let mut copy = FileSet::new();
    for file in files.iter().filter(|f| f.path.as_str() != "shape.h") {
        copy.insert(file.clone())?;
    }
    copy.add("shape.h", reduced_shape(plan)?)?;
    std::fs::create_dir_all(&small).map_err(CodegenError::io(&small))?;
    copy.write(&small)?;
    let arguments = [
        "-std=c++17",
        "-O1",
        "-DMISTRAL_EMULATED",
        "-Wno-unknown-pragmas",
        "-Wall",
        "-Werror",
        "-x",
        "c++",
        "launch.cu",
        "test.cu",
        "-o",
        "mistral_emulated",
    ];
    let build = Job {
        time: TIME,
        ..Job::new(tool, &arguments, &small)
    };
    let Some(mut check) = build.run(checkers)? else {
        verdict.add("test.cu", None, "g++");
        return Ok(());
    };
    if check.ok {
        let mut with_own = checkers.clone();
        with_own.path.insert(0, small.clone());
        let run = Job {
            program: "mistral_emulated",
            time: TIME,
            ..Job::new(tool, &["--runs", "2"], &small)
        };
        let ran = run.run(&with_own)?;
        check = ran.unwrap_or_else(|| Check::of(tool, "the compiler made no program".to_owned()));
    }
    // What the run finds may lie in any file: none of them is written then.
    for file in files
        .iter()
        .filter(|f| f.path.as_str().ends_with(".cu") || f.path.as_str().ends_with(".cuh"))
    {
        verdict.add(file.path.as_str(), Some(check.clone()), tool);
    }
    Ok(())
}

/// What the assembler printed with `-v`, a kernel an entry.
fn resources(printed: &str) -> Vec<KernelUse> {
    let mut all: Vec<KernelUse> = Vec::new();
    for line in printed.lines() {
        if let Some(rest) = line.split("Compiling entry function '").nth(1) {
            let mut parts = rest.split('\'');
            let kernel = short_name(parts.next().unwrap_or_default());
            let arch = parts.nth(1).unwrap_or_default().to_owned();
            all.push(KernelUse {
                kernel,
                arch,
                registers: 0,
                spilled_bytes: 0,
                shared_bytes: 0,
            });
        } else if let Some(last) = all.last_mut() {
            let number = |unit: &str| {
                let before = line
                    .split(unit)
                    .next()
                    .filter(|before| before.len() < line.len())?;
                before.split_whitespace().next_back()?.parse::<u32>().ok()
            };
            if let Some(stored) = number(" bytes spill stores") {
                last.spilled_bytes =
                    stored.saturating_add(number(" bytes spill loads").unwrap_or(0));
            }
            if let Some(registers) = number(" registers") {
                last.registers = registers;
                last.shared_bytes = number(" bytes smem").unwrap_or(0);
            }
        }
    }
    all
}

/// `matvec<Qkv>` of a mangled name: its identifiers without the namespaces.
fn short_name(mangled: &str) -> String {
    let mut names: Vec<&str> = Vec::new();
    let mut rest = mangled;
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        rest = &rest[at..];
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let length = rest[..digits].parse::<usize>().unwrap_or(0);
        let Some(name) = rest
            .get(digits..digits.saturating_add(length))
            .filter(|n| !n.is_empty())
        else {
            break;
        };
        rest = &rest[digits + length..];
        if !matches!(name, "mistral" | "shape") {
            names.push(name);
        }
        if names.len() == 2 {
            break;
        }
    }
    match names[..] {
        [kernel, schedule] => format!("{kernel}<{schedule}>"),
        [kernel] => kernel.to_owned(),
        _ => mangled.chars().take(80).collect(),
    }
}

/// Words that no source may have, and why.
const FORBIDDEN: &[(&str, &str)] = &[
    ("half", "arithmetic in 16 bits"),
    ("half2", "arithmetic in 16 bits"),
    ("__half", "arithmetic in 16 bits"),
    ("__half2", "arithmetic in 16 bits"),
    ("__hfma", "arithmetic in 16 bits"),
    ("__hfma2", "arithmetic in 16 bits"),
    ("__hadd", "arithmetic in 16 bits"),
    ("__nv_bfloat16", "arithmetic in 16 bits"),
    ("__nv_bfloat162", "arithmetic in 16 bits"),
    ("__expf", "less than float's precision"),
    ("__fdividef", "less than float's precision"),
    ("cudaStreamCreate", "a stream that the timing doesn't see"),
    (
        "cudaStreamCreateWithFlags",
        "a stream that the timing doesn't see",
    ),
    ("cudaLaunchHostFunc", "work outside of the timed stream"),
    ("atomicAdd", "sums in no fixed order"),
];

/// Words that a kernel's or launcher's file may not have; the test may.
const NOT_IN_KERNELS: &[(&str, &str)] = &[
    ("static_cast<const float*>(y)", "an output that is read"),
    ("cudaMemcpy", "a copy that hides a host round trip"),
    ("cudaMalloc", "an allocation inside of a launch"),
    ("cudaDeviceSynchronize", "a wait inside of a launch"),
    ("cudaStreamSynchronize", "a wait inside of a launch"),
];

/// What is wrong with a source by its text alone; empty when nothing is.
fn broken_rules(path: &str, text: &str) -> String {
    let test = matches!(path, "test.cu" | "check.cuh");
    let mut found = Vec::new();
    let own = if test { &[] } else { NOT_IN_KERNELS };
    for (number, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        let code = code.split("\"").step_by(2).collect::<String>();
        for (word, why) in FORBIDDEN.iter().chain(own) {
            // `half` is also what a half of a head is called.
            let typed = *word != "half"
                || code.contains("half ") && code.contains("(half")
                || code.contains("<half>");
            if typed && has_word(&code, word) {
                found.push(format!("line {}: {word}: {why}", number + 1));
            }
        }
        if code.trim_start().starts_with("static ") && !code.contains("constexpr") && !test {
            found.push(format!(
                "line {}: a static variable keeps results between launches",
                number + 1
            ));
        }
    }
    let kernels = text.matches("\n__global__ ").count();
    if kernels != text.matches("\n__global__ void __launch_bounds__(").count() {
        found.push(
            "a kernel without __launch_bounds__: its registers aren't held to its threads"
                .to_owned(),
        );
    }
    for part in text.split("\n__global__ ").skip(1) {
        let head = part.split(") {").next().unwrap_or_default();
        let pointers = head.matches('*').count();
        if pointers != head.matches("* __restrict__").count() {
            found.push("a kernel's pointer without __restrict__".to_owned());
        }
    }
    if path == "test.cu" {
        for needed in ["poison()", ".unchanged(", "compare(", "std::exp", "double"] {
            if !text.contains(needed) {
                found.push(format!("the test lacks {needed}"));
            }
        }
    }
    if path == "check.cuh"
        && !(text.contains("cudaEventSynchronize(end)") && text.contains("cudaMemsetAsync(flushed"))
    {
        found.push("timing without synchronisation or without flushed caches".to_owned());
    }
    if path == "device.cuh" && !text.contains("std::is_same<typename S::Sum, float>::value") {
        found.push("no assertion that sums are float or wider".to_owned());
    }
    found.join("\n")
}

fn has_word(code: &str, word: &str) -> bool {
    let inside = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    code.match_indices(word).any(|(at, _)| {
        !inside(code[..at].chars().next_back()) && !inside(code[at + word.len()..].chars().next())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_assembler_prints() {
        let printed = "ptxas info    : Compiling entry function '_ZN7mistral6matvecIN5shape4HeadEEEvPKt15mistral_weightsPf' for 'sm_80'\n    \
            0 bytes stack frame, 8 bytes spill stores, 4 bytes spill loads\nptxas info    : Used 40 registers, used 1 barriers, 64 bytes smem, 384 bytes cmem[0]\n";
        let expected = KernelUse {
            kernel: "matvec<Head>".to_owned(),
            arch: "sm_80".to_owned(),
            registers: 40,
            spilled_bytes: 12,
            shared_bytes: 64,
        };
        assert_eq!(resources(printed), [expected]);
        assert_eq!(resources("nothing"), []);
    }

    #[test]
    fn rules_of_the_text() {
        let cases = [
            ("a.cuh", "__half x;", "16 bits"),
            ("a.cuh", "x = __hfma2(a, b, c);", "16 bits"),
            ("a.cuh", "const half x = half(1); f((half)y);", "16 bits"),
            ("a.cuh", "constexpr int half = 2;", ""),
            ("a.cuh", "// __half is wider", ""),
            ("a.cuh", "float e = __expf(x);", "precision"),
            ("launch.cu", "    cudaMemcpy(a, b, c, d);", "round trip"),
            ("launch.cu", "static float last[4];", "keeps results"),
            ("a.cuh", "    static constexpr int tile = 4;", ""),
            (
                "a.cuh",
                "\n__global__ void f(const float* __restrict__ x) {",
                "launch_bounds",
            ),
            (
                "a.cuh",
                "\n__global__ void __launch_bounds__(32)\nf(float* x) {",
                "__restrict__",
            ),
            ("test.cu", "int main() {}", "lacks poison"),
            ("check.cuh", "", "timing without"),
        ];
        for (path, text, part) in cases {
            let found = broken_rules(path, text);
            assert!(
                found.contains(part) && found.is_empty() == part.is_empty(),
                "{text}: {found}"
            );
        }
    }
}
