//! What each generated file is for, on one line.

/// File names, with the last parts of a path before less of it, and what such a file is for.
const PURPOSES: &[(&str, &str)] = &[
    ("src/plan.rs", "what the plan decides, as constants"),
    ("tests/api.rs", "speaks to the server as clients do"),
    (
        "schedules.json",
        "how kernels cut their work on machines where that was searched",
    ),
    (
        "dashboard.json",
        "requests, tokens, times and errors in Grafana",
    ),
    (
        "alerts.yaml",
        "when Prometheus should call somebody, and why",
    ),
    (
        "prometheus.yaml",
        "has Prometheus read the server's metrics",
    ),
    ("plan.json", "the plan; it makes these files again"),
    (
        "README.md",
        "how to start and use it, and why each setting is there",
    ),
    ("start.sh", "starts the engine with the plan's settings"),
    (
        "convert.sh",
        "makes the GGUF file from the repository's weights",
    ),
    ("Dockerfile", "the image, without weights"),
    (
        "compose.yaml",
        "starts the container with its model, device, key and health check",
    ),
    ("run.sh", "builds the image and runs it with few rights"),
    ("mistral-serving.service", "the unit that systemd starts"),
    (
        "environment.example",
        "variables of the unit; the key among them",
    ),
    ("task.yaml", "the task, and the service with its copies"),
    ("main.tf.json", "the machine with its network and rights"),
    (
        "user-data.sh",
        "runs once when the machine starts for the first time",
    ),
    ("canary/deployment.yaml", "the copy that is tried out"),
    ("canary/route.yaml", "shares requests out by weights"),
    ("picker/deployment.yaml", "chooses the copy that answers"),
    ("picker/service.yaml", "where the gateway asks the picker"),
    (
        "picker/network-policy.yaml",
        "who may call the picker, and whom it may call",
    ),
    ("deployment.yaml", "the server's copies"),
    ("service.yaml", "one address for all copies"),
    ("volume.yaml", "the volume that weights stay on"),
    (
        "loader.yaml",
        "holds the volume open to copy the model into it",
    ),
    (
        "namespace.yaml",
        "a namespace that holds pods to the strictest profile",
    ),
    (
        "service-account.yaml",
        "an account with no more rights than needed",
    ),
    (
        "network-policy.yaml",
        "who may call the server, and whom it may call",
    ),
    (
        "disruption-budget.yaml",
        "drained nodes take one copy away at a time",
    ),
    ("autoscaler.yaml", "more copies while requests wait"),
    (
        "prometheus-adapter.values.yaml",
        "makes the waiting requests a metric of pods",
    ),
    ("kustomization.yaml", "what kubectl apply -k applies"),
    ("inference-service.yaml", "the service that KServe runs"),
    (
        "leader-worker-set.yaml",
        "groups of pods, one group of layers a node",
    ),
    ("ray-service.yaml", "Ray's cluster and its application"),
    (
        "guard.yaml",
        "the module that asks for the key, as an object",
    ),
    ("key_guard.py", "asks for the key before Ray Serve"),
    ("pool.yaml", "the copies that the picker chooses from"),
    ("route.yaml", "the gateway's route to the server"),
    ("role.yaml", "what the picker may read"),
    ("role-binding.yaml", "gives the role to the account"),
    ("config.yaml", "how the picker scores copies"),
    (
        ".env.example",
        "variables that the Compose file needs; copy it to .env",
    ),
    (".dockerignore", "what doesn't enter the image"),
    (".gitignore", "what isn't kept in the repository"),
    ("Cargo.toml", "the project, with its dependencies pinned"),
    ("settings.py", "what the plan decides, as constants"),
    ("generate.py", "the program: continues texts and chats"),
    ("cli.py", "the program's command line"),
    ("text.py", "texts and conversations as tokens"),
    ("decoder.py", "the model's arithmetic"),
    (
        "requirements.txt",
        "the packages, with their versions pinned",
    ),
    (
        "Modelfile",
        "weights, template and settings as Ollama reads them",
    ),
    ("create.sh", "makes the model of the Modelfile in Ollama"),
    (
        "Caddyfile",
        "asks for the key before the engine, which knows none",
    ),
    ("proxy.sh", "starts the proxy that asks for the key"),
    (
        "options.yaml",
        "options that trtllm-serve takes from a file",
    ),
    ("package.json", "the packages, with their versions pinned"),
    ("plan.sh", "what the plan decides, as variables"),
    ("plan.ts", "what the plan decides, as constants"),
    ("client.py", "the client: requests, streams, retries, costs"),
    ("client.sh", "the client: requests, streams, retries, costs"),
    ("client.ts", "the client: requests, streams, retries, costs"),
    (
        "defaults.json",
        "what requests say unless a caller says otherwise",
    ),
    ("tsconfig.json", "the compiler's strictest settings"),
    ("CMakeLists.txt", "builds the kernels and their test"),
    (
        "shape.h",
        "the model's dimensions and the schedule, as constants",
    ),
    ("launch.h", "the interface of C that a program calls"),
    ("launch.cu", "starts the kernels"),
    (
        "test.cu",
        "holds each kernel against its definition in double",
    ),
    (
        "emulate.h",
        "runs the kernels on a processor, where there is no GPU",
    ),
    ("load.json", "the requests of the load test"),
    ("script.js", "the load test, as k6 runs it"),
    ("scenario.json", "the load test, as GuideLLM reads it"),
    (
        "load-test.sh",
        "runs the load test and says whether it was passed",
    ),
    (
        "verdict.py",
        "holds what was measured against the plan's predictions",
    ),
    (
        "requirements-convert.txt",
        "the packages that convert the model, with their versions pinned",
    ),
    (".cuh", "kernels, or what they share"),
    (".rs", "a part of the program"),
    (".py", "a part of the program"),
    (".ts", "a part of the program"),
];

/// What the file of this path is for; `None` for a name that no target makes.
#[must_use]
pub fn purpose(path: &str) -> Option<&'static str> {
    let named = |ending: &str| {
        path.strip_suffix(ending).is_some_and(|before| {
            before.is_empty()
                || before.ends_with('/')
                || matches!(ending, ".rs" | ".py" | ".ts" | ".cuh")
        })
    };
    PURPOSES
        .iter()
        .find(|(ending, _)| named(ending))
        .map(|(_, purpose)| *purpose)
}
