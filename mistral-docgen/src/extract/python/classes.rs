//! Classes: their declarations, configuration keys and errors.

use super::members::{Reader, callee, decorator_names, examples};
use super::names::{dotted, flat};
use super::{docstring, symbol};
use crate::facts::{ConfigKey, ErrorCode, SymbolKind};
use ruff_python_ast::{Expr, ExprCall, Stmt, StmtAnnAssign, StmtClassDef};
use ruff_text_size::Ranged;

impl Reader<'_> {
    pub(super) fn class(&mut self, owner: &str, class: &StmtClassDef) {
        let path = format!("{owner}.{}", class.name);
        let doc = docstring::of_body(&class.body);
        let generic = class
            .type_params
            .as_deref()
            .map(|node| self.source.code(node));
        let bases = class
            .arguments
            .as_deref()
            .map(|node| self.source.code(node));
        let text = format!(
            "class {}{}{}",
            class.name,
            generic.unwrap_or_default(),
            bases.unwrap_or_default()
        );
        let span = self.source.span(class.range);
        examples(self.facts, doc.as_deref(), &path, &span);
        if self.names.descends(&path, is_error) {
            self.facts.errors.push(ErrorCode {
                name: path.clone(),
                message: self.message(class),
                doc: doc.clone(),
                span: span.clone(),
            });
        }
        let mut found = symbol(SymbolKind::Class, &path, text, doc, span);
        self.deprecation(&class.decorator_list, &mut found);
        found.decorators = self.decorators(&class.decorator_list);
        self.facts.symbols.push(found);
        self.body(&path, &class.body, Some(class));
    }

    /// What an error says: the text in its `super().__init__(…)`, or a value of the class named `message`.
    fn message(&self, class: &StmtClassDef) -> Option<String> {
        let statements = flat(&class.body);
        let init = statements.iter().find_map(|statement| match statement {
            Stmt::FunctionDef(function) if function.name.as_str() == "__init__" => Some(function),
            _ => None,
        });
        let given = init.and_then(|init| {
            flat(&init.body).into_iter().find_map(|statement| {
                let Stmt::Expr(statement) = statement else {
                    return None;
                };
                let Expr::Call(call) = &*statement.value else {
                    return None;
                };
                let Expr::Attribute(method) = &*call.func else {
                    return None;
                };
                let of_super = callee(&method.value).0.as_deref() == Some("super");
                let found = of_super && method.attr.as_str() == "__init__";
                self.text(call.arguments.args.first().filter(|_| found)?)
            })
        });
        given.or_else(|| {
            statements.iter().find_map(|statement| {
                let (target, value) = match statement {
                    Stmt::Assign(assign) => (assign.targets.first()?, &*assign.value),
                    Stmt::AnnAssign(assign) => (&*assign.target, assign.value.as_deref()?),
                    _ => return None,
                };
                (dotted(target)? == "message")
                    .then(|| self.text(value))
                    .flatten()
            })
        })
    }

    /// A string, or a formatted one with its place holders as written.
    fn text(&self, expr: &Expr) -> Option<String> {
        match expr {
            Expr::StringLiteral(literal) => Some(literal.value.to_str().to_owned()),
            Expr::FString(formatted) => {
                let mut text = String::new();
                for part in formatted.value.iter() {
                    let code = match part {
                        ruff_python_ast::FStringPart::Literal(part) => self.source.code(part),
                        ruff_python_ast::FStringPart::FString(part) => self.source.code(part),
                    };
                    let inner = code.trim_start_matches(|c: char| c.is_ascii_alphabetic());
                    text.push_str(inner.trim_matches(['"', '\'']));
                }
                Some(text)
            }
            _ => None,
        }
    }

    /// Fields of a dataclass or of a pydantic model.
    pub(super) fn config_keys(&mut self, path: &str, class: &StmtClassDef) {
        let decorators = decorator_names(&class.decorator_list);
        let is_dataclass = decorators
            .iter()
            .any(|name| name.rsplit('.').next() == Some("dataclass"));
        if !is_dataclass && !self.names.descends(path, is_model) {
            return;
        }
        let doc = docstring::of_body(&class.body).unwrap_or_default();
        let sections = docstring::sections(&doc);
        let statements = flat(&class.body);
        for (at, statement) in statements.iter().enumerate() {
            let Stmt::AnnAssign(field) = statement else {
                continue;
            };
            let Some(name) = dotted(&field.target) else {
                continue;
            };
            let type_ = self.source.code(&*field.annotation);
            let outer = type_.split('[').next().unwrap_or_default();
            let last = outer.rsplit('.').next().unwrap_or_default();
            if matches!(last, "ClassVar" | "PrivateAttr" | "InitVar") || name.starts_with('_') {
                continue;
            }
            let below = statements
                .get(at + 1)
                .and_then(|next| docstring::of_statement(next));
            let help = below.or_else(|| sections.parameters.get(&name).cloned());
            let key = self.config_key(path, name, type_, field, help);
            self.facts.config_keys.push(key);
        }
    }

    fn config_key(
        &self,
        owner: &str,
        name: String,
        type_: String,
        field: &StmtAnnAssign,
        help: Option<String>,
    ) -> ConfigKey {
        let value = field.value.as_deref();
        let described = value.and_then(field_call);
        let calls: Vec<&ExprCall> = described
            .into_iter()
            .chain(annotated(&field.annotation))
            .collect();
        let argument = |name: &str| {
            let mut found = calls
                .iter()
                .filter_map(|call| call.arguments.find_keyword(name));
            found.next().map(|keyword| &keyword.value)
        };
        let text = |name: &str| match argument(name) {
            Some(Expr::StringLiteral(literal)) => Some(literal.value.to_str().to_owned()),
            _ => None,
        };
        let code = |name: &str| argument(name).map(|node| self.source.code(node));
        let default = match (value, described) {
            (Some(value), None) => Some(self.source.code(value)),
            _ => {
                let first = described.and_then(|call| call.arguments.args.first());
                let first = first.filter(|node| !matches!(node, Expr::EllipsisLiteral(_)));
                let made = code("default_factory").map(|code| format!("{code}()"));
                first
                    .map(|node| self.source.code(node))
                    .or_else(|| code("default"))
                    .or(made)
            }
        };
        ConfigKey {
            owner: owner.to_owned(),
            key: text("alias").unwrap_or(name),
            type_: Some(type_),
            default: default.filter(|code| code != "..."),
            min: code("ge").or_else(|| code("gt")),
            max: code("le").or_else(|| code("lt")),
            help: text("description").or(help),
            span: self.source.span(field.range()),
        }
    }
}

/// `Field(…)` of pydantic or `field(…)` of dataclasses.
fn field_call(expr: &Expr) -> Option<&ExprCall> {
    let (name, call) = callee(expr);
    let name = name?;
    let last = name.rsplit('.').next()?;
    call.filter(|_| last == "Field" || last == "field")
}

/// Calls of `Field` within `Annotated[…]`.
fn annotated(expr: &Expr) -> Vec<&ExprCall> {
    let Expr::Subscript(subscript) = expr else {
        return Vec::new();
    };
    let is_annotated =
        dotted(&subscript.value).is_some_and(|n| n.rsplit('.').next() == Some("Annotated"));
    match &*subscript.slice {
        Expr::Tuple(tuple) if is_annotated => tuple.elts.iter().filter_map(field_call).collect(),
        _ => Vec::new(),
    }
}

fn is_model(base: &str) -> bool {
    matches!(
        base,
        "pydantic.BaseModel"
            | "pydantic.main.BaseModel"
            | "pydantic_settings.BaseSettings"
            | "pydantic.BaseSettings"
    )
}

fn is_error(base: &str) -> bool {
    let last = base.rsplit('.').next().unwrap_or_default();
    ["Exception", "Error", "BaseException", "Warning"]
        .iter()
        .any(|end| last.ends_with(end))
}
