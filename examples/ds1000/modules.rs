//! What programs of the benchmark import.

use super::Problem;
use std::collections::BTreeSet;

/// Submodules that programs import; imported once, they cost no program its time.
const PRELOADED: &[(&str, &[&str])] = &[
    ("pandas", &["pandas.testing"]),
    ("numpy", &["numpy.testing"]),
    (
        "scipy",
        &[
            "scipy.stats",
            "scipy.optimize",
            "scipy.sparse.linalg",
            "scipy.spatial",
            "scipy.interpolate",
            "scipy.integrate",
            "scipy.signal",
            "scipy.ndimage",
        ],
    ),
    (
        "sklearn",
        &[
            "sklearn.linear_model",
            "sklearn.ensemble",
            "sklearn.svm",
            "sklearn.model_selection",
            "sklearn.pipeline",
            "sklearn.feature_extraction.text",
            "sklearn.cluster",
            "sklearn.datasets",
        ],
    ),
    ("matplotlib", &["matplotlib.pyplot", "PIL.Image"]),
];

/// The module that a library of the benchmark is imported as; `None` for a library that it lacks.
#[must_use]
pub fn module_of(library: &str) -> Option<&'static str> {
    Some(match library.to_ascii_lowercase().as_str() {
        "matplotlib" => "matplotlib",
        "numpy" => "numpy",
        "pandas" => "pandas",
        "pytorch" => "torch",
        "scipy" => "scipy",
        "sklearn" => "sklearn",
        "tensorflow" => "tensorflow",
        _ => return None,
    })
}

/// The modules of these problems' libraries, sorted.
#[must_use]
pub fn modules<'p>(problems: impl Iterator<Item = &'p Problem>) -> Vec<&'static str> {
    let found: BTreeSet<&'static str> = problems.filter_map(|p| module_of(&p.library)).collect();
    found.into_iter().collect()
}

/// What programs import besides these modules.
#[must_use]
pub fn submodules(modules: &[&str]) -> Vec<&'static str> {
    let preloaded = PRELOADED.iter().filter(|(top, _)| modules.contains(top));
    let mut found: Vec<&'static str> = preloaded.flat_map(|(_, subs)| *subs).copied().collect();
    if modules.contains(&"sklearn") || modules.contains(&"matplotlib") {
        found.push("pandas");
    }
    found
}
