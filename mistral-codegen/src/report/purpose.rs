//! What each generated file is for, on one line.

/// File names, with the last parts of a path before less of it, and what such a file is for.
const PURPOSES: &[(&str, &str)] = &[
    ("src/plan.rs", "what the plan decides, as constants"),
    ("tests/api.rs", "speaks to the server as clients do"),
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
    (".rs", "a part of the program"),
    (".py", "a part of the program"),
];

/// What the file of this path is for; `None` for a name that no target makes.
#[must_use]
pub fn purpose(path: &str) -> Option<&'static str> {
    let named = |ending: &str| {
        path.strip_suffix(ending).is_some_and(|before| {
            before.is_empty() || before.ends_with('/') || matches!(ending, ".rs" | ".py")
        })
    };
    PURPOSES
        .iter()
        .find(|(ending, _)| named(ending))
        .map(|(_, purpose)| *purpose)
}
