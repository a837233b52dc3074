//! The generated kernels run on this processor, right; with a mistake planted in them, they are found wrong.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use mistral_codegen::cuda::{
    Accumulate, Kernel, Limits, Schedule, Shape, default_schedule, generate_with, schedules,
};
use mistral_codegen::verify::{Checkers, MOST_SPILLED, verify};
use mistral_codegen::{CodegenError, FileSet, Options, Plan, Target, generate};
use mistral_core::catalog::Catalog;
use mistral_core::model::ModelSpec;
use serde_json::{Value, json};

/// A model whose rows don't fill their last block, as its configuration.
fn config(experts: bool) -> Value {
    let mut config = json!({
        "architectures": ["MistralForCausalLM"], "model_type": "mistral", "vocab_size": 301,
        "hidden_size": 256, "intermediate_size": 384, "num_hidden_layers": 1, "num_attention_heads": 8,
        "num_key_value_heads": 2, "head_dim": 64, "max_position_embeddings": 151, "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0, "sliding_window": null, "hidden_act": "silu",
        "tie_word_embeddings": false, "bos_token_id": 1, "eos_token_id": 2,
    });
    if experts {
        config["architectures"] = json!(["MixtralForCausalLM"]);
        config["model_type"] = json!("mixtral");
        config["num_local_experts"] = json!(4);
        config["num_experts_per_tok"] = json!(2);
    }
    config
}

fn plan_of(spec: &ModelSpec, precision: &str, device: &str) -> Plan {
    let plan = json!({
        "schema": 1, "model": {"id": "small"}, "spec": spec, "precision": precision,
        "runtime": "mistral-infer",
        "placement": {"device": device, "count": 1, "tensor_parallel": 1},
        "limits": {"context_tokens": 151, "concurrency": 3},
    });
    serde_json::from_value(plan).expect("a plan")
}

fn small(experts: bool, precision: &str) -> Plan {
    let spec = ModelSpec::from_hf_config(&config(experts).to_string()).expect("a specification");
    plan_of(&spec, precision, "H100-SXM")
}

/// The schedules of the tests: few threads, so that blocks end inside of rows, and every kind of split.
fn chosen() -> BTreeMap<Kernel, Schedule> {
    let one = |threads, rows_a_warp, split| Schedule {
        threads,
        rows_a_warp,
        vector_bytes: 8,
        unroll: 2,
        split,
        accumulate: Accumulate::F32,
    };
    BTreeMap::from([
        (Kernel::Qkv, one(64, 2, 2)),
        (Kernel::AttentionOutput, one(64, 4, 1)),
        (Kernel::Head, one(128, 2, 2)),
        (Kernel::GateUp, one(128, 1, 2)),
        (Kernel::Down, one(128, 2, 2)),
        (Kernel::Norm, one(64, 1, 1)),
        (Kernel::Attention, one(64, 2, 4)),
        (Kernel::Route, one(64, 1, 1)),
    ])
}

/// Compiles `inputs` in `folder`; `None` without a compiler.
fn compile(folder: &Path, flags: &[&str], inputs: &[&str], output: &str) -> Option<()> {
    let output = Command::new("g++")
        .args([
            "-std=c++17",
            "-DMISTRAL_EMULATED",
            "-Wno-unknown-pragmas",
            "-Wall",
            "-Werror",
        ])
        .args(flags)
        .args(["-o", output, "-x", "c++"])
        .args(inputs)
        .current_dir(folder)
        .output()
        .inspect_err(|_| println!("skipped: no g++"))
        .ok()?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    Some(())
}

/// Exit status and output of some of the emulated checks.
fn run(folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(folder.join("emulated"))
        .args(arguments)
        .output()
        .expect("runs");
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.push_str(&String::from_utf8_lossy(&output.stderr));
    (output.status.code(), said)
}

#[test]
fn kernels_agree_with_the_reference_in_any_order() -> Result<(), CodegenError> {
    let sanitized = [
        "-O1",
        "-fsanitize=address,undefined",
        "-fno-sanitize-recover=all",
    ];
    for (experts, precision, flags) in [(true, "q4_k_m", &sanitized[..]), (false, "bf16", &["-O1"])]
    {
        let folder = tempfile::tempdir().expect("a folder");
        let files = generate_with(&small(experts, precision), &chosen())?;
        files.write(folder.path()).expect("written");
        let units = ["launch.cu", "test.cu"];
        if compile(folder.path(), flags, &units, "emulated").is_none() {
            return Ok(());
        }
        for seed in ["1", "2"] {
            let (status, said) = run(folder.path(), &["--runs", "2", "--seed", seed]);
            assert_eq!(status, Some(0), "{precision} seed {seed}\n{said}");
            assert!(said.contains("all right"), "{said}");
        }
    }
    Ok(())
}

/// A mistake: what it is called, its file, the text, what takes its place, and the check that finds it.
type Mistake = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
);

const MISTAKES: &[Mistake] = &[
    (
        "no barrier before staged activations are read",
        "matvec.cuh",
        "    __syncthreads();\n    Row rows",
        "    Row rows",
        "qkv",
    ),
    (
        "no barrier before the parts are added",
        "device.cuh",
        "        __syncthreads();\n        if (lane == 0 && warp % S::split == 0)",
        "        if (lane == 0 && warp % S::split == 0)",
        "head",
    ),
    (
        "no barrier before the next expert is staged",
        "experts.cuh",
        "if (rank > 0) __syncthreads();",
        "",
        "experts",
    ),
    (
        "a barrier that not every thread meets",
        "experts.cuh",
        "if (rank > 0) __syncthreads();",
        "if (threadIdx.x > 0) __syncthreads();",
        "experts",
    ),
    (
        "one row too many",
        "matvec.cuh",
        "if (first + r < P::rows) y[",
        "if (first + r <= P::rows) y[",
        "head",
    ),
    (
        "the row before",
        "matvec.cuh",
        "P::cols>(weights, row)",
        "P::cols>(weights, row > 0 ? row - 1 : 0)",
        "qkv",
    ),
    (
        "an output that isn't written",
        "matvec.cuh",
        "if (first + r < P::rows) y[",
        "if (first + r + 1 < P::rows) y[",
        "head",
    ),
    (
        "an output of an earlier run",
        "launch.cu",
        "constexpr size_t shared = norm_bytes<S>();",
        "constexpr size_t shared = norm_bytes<S>();\n    static int launches = 0;\n    if (launches++ > 0) return 0;",
        "norm",
    ),
    (
        "an input that is changed",
        "matvec.cuh",
        "    Row rows",
        "    const_cast<uint16_t*>(x)[threadIdx.x] = 0;\n    Row rows",
        "head",
    ),
    (
        "ties to the higher id",
        "experts.cuh",
        "other == value && other_id < id",
        "other == value && other_id > id",
        "experts",
    ),
    (
        "slots of experts in the wrong order",
        "experts.cuh",
        "shared_ids[slot] < expert",
        "shared_ids[slot] > expert",
        "experts",
    ),
    (
        "weights of another rank",
        "experts.cuh",
        "const float weight = model::experts > 1 ? weights[slot]",
        "const float weight = model::experts > 1 ? weights[blockIdx.y * chosen]",
        "experts",
    ),
    (
        "sums in 16 bits",
        "device.cuh",
        "sum[r] += scale * dot + (minimum - 16.0f * scale) * x_sum;",
        "sum[r] = from_f16(to_f16(sum[r] + scale * dot + (minimum - 16.0f * scale) * x_sum));",
        "qkv",
    ),
    (
        "a nibble in the place of another",
        "device.cuh",
        "19 - 4 * (i % 8)",
        "19 - 4 * (i % 8 ^ 1)",
        "qkv",
    ),
    (
        "the window off by one",
        "kernels.cuh",
        "length - window : 0",
        "length - window - 1 : 0",
        "attention",
    ),
    (
        "positions behind the end",
        "attention.cuh",
        "inside[u] ? dot",
        "true ? dot",
        "attention",
    ),
    (
        "the largest score forgotten",
        "attention.cuh",
        "weight[h] *= keep;",
        "",
        "attention",
    ),
    (
        "no barrier before teams are merged",
        "attention.cuh",
        "    __syncthreads();\n    for (int i = threadIdx.x; i < Cut::outputs",
        "    for (int i = threadIdx.x; i < Cut::outputs",
        "attention",
    ),
    (
        "the other half's angle",
        "rope.cuh",
        "a * sine + b * cosine",
        "b * cosine - a * sine",
        "rope",
    ),
    (
        "keys of the wrong head",
        "rope.cuh",
        "cache_index(token, head - model::n_heads",
        "cache_index(token, 0 * head",
        "rope",
    ),
    (
        "no epsilon's root",
        "norm.cuh",
        "1.0f / sqrtf(float(total) / model::dim + model::norm_eps)",
        "1.0f / sqrtf(float(total) / (model::dim - 1))",
        "norm",
    ),
];

#[test]
fn planted_mistakes_are_found() -> Result<(), CodegenError> {
    let good = generate_with(&small(true, "q4_0"), &chosen())?;
    // The test itself is right, and is compiled once.
    let whole = tempfile::tempdir().expect("a folder");
    good.write(whole.path()).expect("written");
    if compile(whole.path(), &["-O0", "-c"], &["test.cu"], "test.o").is_none() {
        return Ok(());
    }
    let object = whole.path().join("test.o");
    let object = object.to_str().expect("a plain path");
    let build_and_run = |row: &Mistake| -> Option<String> {
        let (name, path, from, to, check) = row;
        let mut files = FileSet::new();
        for file in good.iter() {
            let mut file = file.clone();
            if file.path.as_str() == *path {
                let changed = file.contents.replacen(from, to, 1);
                assert_ne!(changed, file.contents, "{path} has {from:?}");
                file.contents = changed;
            }
            files.insert(file).expect("a set like the first");
        }
        let folder = tempfile::tempdir().expect("a folder");
        files.write(folder.path()).expect("written");
        compile(
            folder.path(),
            &["-O0"],
            &["launch.cu", "-x", "none", object],
            "emulated",
        )?;
        let (status, said) = run(folder.path(), &["--runs", "2", check]);
        let found = status.is_none() || matches!(status, Some(1 | 3));
        (!found).then(|| format!("{name}: {status:?}\n{said}"))
    };
    // Compilers are slow and there are two processors.
    let missed: Vec<String> = std::thread::scope(|scope| {
        let half = MISTAKES.len() / 2;
        let parts = [&MISTAKES[..half], &MISTAKES[half..]];
        let threads = parts.map(|rows| {
            scope.spawn(move || rows.iter().filter_map(build_and_run).collect::<Vec<_>>())
        });
        threads
            .into_iter()
            .flat_map(|t| t.join().expect("ran"))
            .collect()
    });
    assert!(missed.is_empty(), "{}", missed.join("\n"));
    Ok(())
}

#[test]
fn every_listed_model_has_schedules_or_a_reason() {
    let (mut made, mut refused) = (0, 0);
    for model in Catalog::embedded().iter() {
        let Ok(Some(spec)) = model.spec() else {
            continue;
        };
        for device in [
            "T4",
            "A100",
            "L4",
            "H100-SXM",
            "B200",
            "RTX 4090",
            "Jetson AGX Orin 64GB",
        ] {
            for precision in ["bf16", "awq"] {
                let plan = plan_of(&spec, precision, device);
                match generate(Target::Cuda, &plan, &Options::default()) {
                    Ok(files) => {
                        let again =
                            generate(Target::Cuda, &plan, &Options::default()).expect("as before");
                        assert_eq!(files, again);
                        made += 1;
                    }
                    Err(CodegenError::Unsupported { .. }) => refused += 1,
                    Err(other) => panic!("{} {device}: {other}", model.id),
                }
            }
        }
    }
    assert!(made > 50 && refused > 0, "{made} made, {refused} refused");
}

#[test]
fn schedules_are_valid_and_no_others() -> Result<(), CodegenError> {
    let shape = Shape::of(&small(true, "q4_0"))?;
    for (sm, datacenter) in [
        (75, false),
        (80, true),
        (86, false),
        (90, true),
        (120, false),
    ] {
        let limits = Limits::of_capability(sm, datacenter).expect("known");
        for &kernel in Kernel::ALL {
            let all = schedules(kernel, &shape, &limits);
            assert!(!all.is_empty(), "{kernel:?}");
            for schedule in &all {
                assert!(schedule.validate(kernel, &shape, &limits).is_ok());
                assert_eq!(schedule.accumulate, Accumulate::F32);
                assert!(schedule.shared_bytes(kernel, &shape) <= limits.shared_a_block);
            }
            let default = default_schedule(kernel, &shape, &limits).expect("there are some");
            assert!(all.contains(&default), "{kernel:?}");
        }
    }
    let limits = Limits::of_capability(90, true).expect("known");
    let good = default_schedule(Kernel::Qkv, &shape, &limits).expect("there is one");
    let bad = [
        Schedule { threads: 0, ..good },
        Schedule {
            threads: 48,
            ..good
        },
        Schedule {
            threads: 2048,
            ..good
        },
        Schedule {
            vector_bytes: 12,
            ..good
        },
        Schedule { unroll: 0, ..good },
        Schedule {
            rows_a_warp: 16,
            unroll: 16,
            ..good
        },
        Schedule { split: 0, ..good },
        Schedule { split: 3, ..good },
    ];
    for schedule in bad {
        let error = schedule
            .validate(Kernel::Qkv, &shape, &limits)
            .expect_err("not valid");
        assert!(
            error.to_string().contains("schedule"),
            "{schedule:?}: {error}"
        );
        let chosen = BTreeMap::from([(Kernel::Qkv, schedule)]);
        assert!(generate_with(&small(true, "q4_0"), &chosen).is_err());
    }
    assert_eq!(Limits::of_capability(70, true), None);
    Ok(())
}

/// No text of a plan enters a source: with hostile ones they stay as they are.
#[test]
fn texts_enter_the_page_for_people_only() -> Result<(), CodegenError> {
    let mut plan = small(false, "bf16");
    let plain = generate(Target::Cuda, &plan, &Options::default())?;
    plan.model.id = "*/ #include <x> `\" {{ 7 }}".to_owned();
    plan.model.hf_repo = Some("\"; system(\"id".to_owned());
    let hostile = generate(Target::Cuda, &plan, &Options::default())?;
    for file in plain.iter() {
        let path = file.path.as_str();
        let same = hostile.get(path).map(|f| &f.contents) == Some(&file.contents);
        assert_eq!(same, !matches!(path, "README.md" | "plan.json"), "{path}");
    }
    Ok(())
}

#[test]
fn what_kernels_do_not_serve_is_refused_by_name() {
    type Change = fn(&mut Plan);
    let rows: &[(Change, &str)] = &[
        (|p| p.spec = None, "spec"),
        (
            |p| p.placement.device = "V100".to_owned(),
            "placement.device",
        ),
        (
            |p| p.placement.device = "MI300X".to_owned(),
            "placement.device",
        ),
        (
            |p| p.placement.device = "x\"\n".to_owned(),
            "placement.device",
        ),
        (
            |p| p.placement.tensor_parallel = 2,
            "placement.tensor_parallel",
        ),
        (|p| p.limits.concurrency = 0, "limits.concurrency"),
        (|p| p.limits.concurrency = u32::MAX, "limits.concurrency"),
        (
            |p| p.limits.context_tokens = u32::MAX,
            "limits.context_tokens",
        ),
        (
            |p| p.precision = "fp8".parse().expect("a name"),
            "precision",
        ),
        (|p| p.spec.as_mut().expect("there").dim = 1 << 40, "spec"),
        (|p| p.spec.as_mut().expect("there").dim = 250, "spec.dim"),
        (
            |p| p.spec.as_mut().expect("there").norm_eps = f64::NAN,
            "spec",
        ),
        (
            |p| p.spec.as_mut().expect("there").logit_softcap = Some(30.0),
            "spec.position_scale",
        ),
    ];
    for (change, part) in rows {
        let mut plan = small(false, "bf16");
        change(&mut plan);
        let error = generate(Target::Cuda, &plan, &Options::default()).expect_err(part);
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
}

#[test]
fn the_verdict_tells_registers_and_finds_mistakes() -> Result<(), CodegenError> {
    let scratch = tempfile::tempdir().expect("a folder");
    let checkers = Checkers::from_environment(std::env::vars_os(), scratch.path().to_path_buf());
    let mut plan = small(true, "q4_0");
    plan.placement.device = "L4".to_owned();
    let files = generate(Target::Cuda, &plan, &Options::default())?;
    let verdict = verify(Target::Cuda, &files, &checkers)?;
    assert!(verdict.ok(), "{:#?}", verdict.files);
    if verdict.missing.contains_key("nvcc") {
        println!("not compiled for a device: no nvcc");
        return Ok(());
    }
    for arch in ["sm_80", "sm_90a", "sm_89"] {
        let kernels: Vec<_> = verdict.kernels.iter().filter(|k| k.arch == arch).collect();
        assert_eq!(kernels.len(), 11, "{arch} {:?}", verdict.kernels);
        assert!(
            kernels
                .iter()
                .all(|k| k.registers > 0 && k.spilled_bytes == 0)
        );
    }
    Ok(())
}

/// The kernels that spill more than they may, by the assembler's report of `launch.cu`; `None` without a compiler.
fn spilling(folder: &Path) -> Option<Vec<String>> {
    let output = Command::new("nvcc")
        .args(["-std=c++17", "-O3", "-Xptxas", "-v", "-arch=sm_89"])
        .args(["-c", "launch.cu", "-o", "launch.o"])
        .current_dir(folder)
        .output()
        .inspect_err(|_| println!("skipped: no nvcc"))
        .ok()?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let (mut kernel, mut kernels, mut found) = ("", 0, Vec::new());
    for line in said.lines() {
        if line.contains("Compiling entry function") {
            kernel = line;
        } else if let Some((before, _)) = line.split_once(" bytes spill stores") {
            let bytes = before.rsplit(' ').next().and_then(|n| n.parse().ok());
            let bytes: u32 = bytes.expect("a number");
            kernels += 1;
            if bytes > MOST_SPILLED {
                found.push(format!("{bytes} bytes: {kernel}"));
            }
        }
    }
    assert_eq!(kernels, 11, "{said}");
    Some(found)
}

/// Schedules besides the default ones get along with a thread's registers, as their estimates say.
#[test]
fn valid_schedules_do_not_spill() -> Result<(), CodegenError> {
    let mut config = config(true);
    for (field, value) in [
        ("hidden_size", 4096),
        ("intermediate_size", 14336),
        ("num_attention_heads", 32),
        ("head_dim", 128),
    ] {
        config[field] = json!(value);
    }
    let spec = ModelSpec::from_hf_config(&config.to_string()).expect("a specification");
    let plan = plan_of(&spec, "q4_k_m", "L4");
    let (shape, limits) = (Shape::of(&plan)?, Limits::of(&plan)?);
    // Of all valid ones, by their estimates: the largest, one near it, one in the middle.
    for tenths in [10, 8, 5] {
        let mut chosen = BTreeMap::new();
        for &kernel in Kernel::ALL {
            let mut all = schedules(kernel, &shape, &limits);
            all.sort_by_key(|s| (s.registers(kernel, &shape), s.threads));
            chosen.insert(kernel, all[(all.len() - 1) * tenths / 10]);
        }
        let folder = tempfile::tempdir().expect("a folder");
        generate_with(&plan, &chosen)?
            .write(folder.path())
            .expect("written");
        let Some(found) = spilling(folder.path()) else {
            return Ok(());
        };
        assert!(found.is_empty(), "{}\n{chosen:?}", found.join("\n"));
    }
    Ok(())
}
