//! A recommendation for people: as text, and as a page of its own.
//!
//! The page is one file: no script, no network, drawings inside. Whatever a user wrote is escaped
//! by the template engine; drawings get numbers and such texts only.

mod axis;
mod bars;
mod plot;
mod text;
mod view;

use minijinja::{Environment, UndefinedBehavior};
use mistral_core::recommendation::Recommendation;

pub use text::text;

/// The recommendation as one HTML file, in the language of the need's words, which is also well-formed XML: the need as
/// understood, what was assumed, the question, the choices, cost against latency, memory by part,
/// what would change the choice, why others lost, and the sources.
///
/// The same recommendation gives the same bytes. Texts in it may be hostile: they are escaped, and
/// control characters are replaced.
#[must_use]
pub fn page(recommendation: &Recommendation) -> String {
    let mut templates = Environment::new();
    templates.set_undefined_behavior(UndefinedBehavior::Strict);
    templates.set_trim_blocks(true);
    templates.set_lstrip_blocks(true);
    for (name, source) in [
        ("page.html", include_str!("page.html")),
        ("plot.html", include_str!("plot.html")),
        ("bars.html", include_str!("bars.html")),
        ("style.css", include_str!("style.css")),
    ] {
        templates
            .add_template(name, source)
            .expect("the templates are ours, and a test renders them");
    }
    let html = templates
        .get_template("page.html")
        .and_then(|t| t.render(view::view(recommendation)))
        .expect("the view has all that the templates name, and a test renders them");
    html.chars().map(printable).collect()
}

/// Characters that neither HTML nor XML may hold, replaced.
fn printable(c: char) -> char {
    match c {
        '\n' | '\t' => c,
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        '\u{fffe}' | '\u{ffff}' => char::REPLACEMENT_CHARACTER,
        c => c,
    }
}
