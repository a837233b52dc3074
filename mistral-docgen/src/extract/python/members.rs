//! Functions, classes and attributes of modules and classes.

use super::names::{Names, dotted, flat};
use super::source::Source;
use super::{Module, docstring, symbol};
use crate::extract::examples as code;
use crate::facts::{FactParts, Language, Parameter, ParameterKind, Span, Symbol, SymbolKind};
use ruff_python_ast::{Decorator, Expr, Stmt, StmtFunctionDef};
use ruff_text_size::{Ranged, TextRange};
use std::collections::{BTreeMap, BTreeSet};

/// Reads a module into facts.
pub(super) struct Reader<'a> {
    pub(super) source: &'a Source,
    pub(super) names: &'a Names,
    pub(super) facts: &'a mut FactParts,
}

/// Facts of a module's body.
pub(super) fn collect(module: &Module, names: &Names, facts: &mut FactParts) {
    let mut reader = Reader {
        source: &module.source,
        names,
        facts,
    };
    reader.body(&module.path, &module.body, None);
}

/// Examples in a docstring.
pub(super) fn examples(facts: &mut FactParts, doc: Option<&str>, of: &str, span: &Span) {
    let Some(doc) = doc else { return };
    facts
        .examples
        .extend(code::examples(doc, Language::Python, of, span));
}

/// A place where a name is given a value.
struct Assigned<'a> {
    name: String,
    annotation: Option<&'a Expr>,
    value: Option<&'a Expr>,
    doc: Option<String>,
    range: TextRange,
}

impl Reader<'_> {
    /// Reads what is in `owner`; `class` is its definition where it is a class.
    pub(super) fn body(
        &mut self,
        owner: &str,
        body: &[Stmt],
        class: Option<&ruff_python_ast::StmtClassDef>,
    ) {
        let statements = flat(body);
        let mut attributes = Vec::new();
        let mut defined = BTreeSet::new();
        for (at, statement) in statements.iter().enumerate() {
            match statement {
                Stmt::FunctionDef(function) => {
                    defined.insert(function.name.to_string());
                    self.function(owner, function, class.is_some());
                    if class.is_some() && function.name.as_str() == "__init__" {
                        attributes.extend(of_instance(function));
                    }
                }
                Stmt::ClassDef(found) => {
                    defined.insert(found.name.to_string());
                    self.class(owner, found);
                }
                Stmt::TypeAlias(alias) => {
                    if let Some(name) = dotted(&alias.name) {
                        let path = format!("{owner}.{name}");
                        let span = self.source.span(alias.range);
                        let text = self.source.code(alias);
                        let returns = self.source.code(&*alias.value);
                        let mut found = symbol(SymbolKind::TypeAlias, &path, text, None, span);
                        found.returns = Some(returns);
                        self.facts.symbols.push(found);
                    }
                }
                other => {
                    let doc = statements
                        .get(at + 1)
                        .and_then(|next| docstring::of_statement(next));
                    attributes.extend(assigned(other, doc));
                }
            }
        }
        attributes.retain(|attribute| !defined.contains(&attribute.name));
        self.attributes(owner, attributes);
        if let Some(class) = class {
            self.config_keys(owner, class);
        }
    }

    /// One symbol a name; what a first place leaves open is taken from later ones.
    fn attributes(&mut self, owner: &str, attributes: Vec<Assigned<'_>>) {
        let mut known: BTreeMap<String, Assigned<'_>> = BTreeMap::new();
        for attribute in attributes {
            match known.get_mut(&attribute.name) {
                None => {
                    known.insert(attribute.name.clone(), attribute);
                }
                Some(first) => {
                    first.annotation = first.annotation.or(attribute.annotation);
                    first.value = first.value.or(attribute.value);
                    first.doc = first.doc.take().or(attribute.doc);
                }
            }
        }
        for (name, attribute) in known {
            let path = format!("{owner}.{name}");
            let type_ = attribute.annotation.map(|node| self.source.code(node));
            let value = attribute.value.and_then(|node| self.source.short(node));
            let mut text = name;
            if let Some(type_) = &type_ {
                text = format!("{text}: {type_}");
            }
            if let Some(value) = value {
                text = format!("{text} = {value}");
            }
            let is_alias = type_
                .as_deref()
                .is_some_and(|t| t.rsplit('.').next() == Some("TypeAlias"));
            let kind = if is_alias {
                SymbolKind::TypeAlias
            } else {
                SymbolKind::Attribute
            };
            let span = self.source.span(attribute.range);
            examples(self.facts, attribute.doc.as_deref(), &path, &span);
            let mut found = symbol(kind, &path, text, attribute.doc, span);
            found.returns = type_;
            self.facts.symbols.push(found);
        }
    }

    fn function(&mut self, owner: &str, function: &StmtFunctionDef, in_class: bool) {
        let decorators = self.decorators(&function.decorator_list);
        let names = decorator_names(&function.decorator_list);
        let has = |name: &str| names.iter().any(|n| n.rsplit('.').next() == Some(name));
        // The getter is the property; what changes or deletes its value has the same name.
        if names
            .iter()
            .any(|n| n.ends_with(".setter") || n.ends_with(".deleter"))
        {
            return;
        }
        let is_property = has("property") || has("cached_property") || has("abstractproperty");
        let kind = match (in_class, is_property) {
            (false, _) => SymbolKind::Function,
            (true, false) => SymbolKind::Method,
            (true, true) => SymbolKind::Property,
        };
        let path = format!("{owner}.{}", function.name);
        let doc = docstring::of_body(&function.body);
        let sections = doc.as_deref().map(docstring::sections).unwrap_or_default();
        let mut parameters = self.parameters(function);
        if let (true, false, Some(first)) = (in_class, has("staticmethod"), parameters.first_mut())
        {
            first.kind = ParameterKind::Receiver;
        }
        for parameter in &mut parameters {
            let name = parameter.name.trim_start_matches('*');
            parameter.doc = sections.parameters.get(name).cloned();
        }
        let returns = function
            .returns
            .as_deref()
            .map(|node| self.source.code(node));
        let mut raises: BTreeSet<String> = sections.raises.into_iter().collect();
        raises.extend(raised(&function.body));
        let text = self.signature(function, returns.as_deref());
        let span = self.source.span(function.range);
        examples(self.facts, doc.as_deref(), &path, &span);
        let mut found = symbol(kind, &path, text, doc, span);
        self.deprecation(&function.decorator_list, &mut found);
        found.parameters = parameters;
        found.returns = returns;
        found.raises = raises.into_iter().collect();
        found.decorators = decorators;
        self.facts.symbols.push(found);
    }

    pub(super) fn decorators(&self, all: &[Decorator]) -> Vec<String> {
        all.iter()
            .map(|decorator| self.source.code(&decorator.expression))
            .collect()
    }

    /// Takes the reason of `@deprecated("…")` over.
    pub(super) fn deprecation(&self, decorators: &[Decorator], symbol: &mut Symbol) {
        for decorator in decorators {
            let (name, call) = callee(&decorator.expression);
            if name.is_none_or(|name| name.rsplit('.').next() != Some("deprecated")) {
                continue;
            }
            let text = |expr: &Expr| match expr {
                Expr::StringLiteral(literal) => Some(literal.value.to_str().to_owned()),
                _ => None,
            };
            let keyword = |name: &str| {
                let found = call.and_then(|call| call.arguments.find_keyword(name));
                found.and_then(|keyword| text(&keyword.value))
            };
            let first = call.and_then(|call| call.arguments.args.first());
            let reason = first.and_then(text).or_else(|| keyword("reason"));
            symbol.deprecated = Some(reason.unwrap_or_default());
            symbol.deprecated_since = keyword("version");
        }
    }

    fn parameters(&self, function: &StmtFunctionDef) -> Vec<Parameter> {
        let all = &function.parameters;
        let mut found = Vec::new();
        let mut add = |parameter: &ruff_python_ast::Parameter, default: Option<&Expr>, kind| {
            let variadic = matches!(
                kind,
                ParameterKind::VarPositional | ParameterKind::VarKeyword
            );
            found.push(Parameter {
                name: parameter.name.to_string(),
                type_: parameter
                    .annotation
                    .as_deref()
                    .map(|node| self.source.code(node)),
                default: default.map(|node| self.source.code(node)),
                required: default.is_none() && !variadic,
                kind,
                doc: None,
            });
        };
        for parameter in &all.posonlyargs {
            add(
                &parameter.parameter,
                parameter.default(),
                ParameterKind::Positional,
            );
        }
        for parameter in &all.args {
            add(
                &parameter.parameter,
                parameter.default(),
                ParameterKind::PositionalOrKeyword,
            );
        }
        if let Some(parameter) = &all.vararg {
            add(parameter, None, ParameterKind::VarPositional);
        }
        for parameter in &all.kwonlyargs {
            add(
                &parameter.parameter,
                parameter.default(),
                ParameterKind::Keyword,
            );
        }
        if let Some(parameter) = &all.kwarg {
            add(parameter, None, ParameterKind::VarKeyword);
        }
        found
    }

    /// The declaration; the code of `*args` and `**kwargs` has its stars.
    fn signature(&self, function: &StmtFunctionDef, returns: Option<&str>) -> String {
        let all = &function.parameters;
        let mut parts = Vec::new();
        let plain = |list: &[ruff_python_ast::ParameterWithDefault], parts: &mut Vec<String>| {
            parts.extend(list.iter().map(|parameter| self.source.code(parameter)));
        };
        plain(&all.posonlyargs, &mut parts);
        if !all.posonlyargs.is_empty() {
            parts.push("/".to_owned());
        }
        plain(&all.args, &mut parts);
        match &all.vararg {
            Some(parameter) => parts.push(self.source.code(&**parameter)),
            None if !all.kwonlyargs.is_empty() => parts.push("*".to_owned()),
            None => {}
        }
        plain(&all.kwonlyargs, &mut parts);
        if let Some(parameter) = &all.kwarg {
            parts.push(self.source.code(&**parameter));
        }
        let word = if function.is_async {
            "async def"
        } else {
            "def"
        };
        let generic = function
            .type_params
            .as_deref()
            .map(|node| self.source.code(node));
        let arrow = returns
            .map(|text| format!(" -> {text}"))
            .unwrap_or_default();
        let (name, generic) = (&function.name, generic.unwrap_or_default());
        format!("{word} {name}{generic}({}){arrow}", parts.join(", "))
    }
}

/// The dotted name of a decorator, and its call if it is one.
pub(super) fn callee(expr: &Expr) -> (Option<String>, Option<&ruff_python_ast::ExprCall>) {
    match expr {
        Expr::Call(call) => (dotted(&call.func), Some(call)),
        other => (dotted(other), None),
    }
}

pub(super) fn decorator_names(all: &[Decorator]) -> Vec<String> {
    all.iter()
        .filter_map(|decorator| callee(&decorator.expression).0)
        .collect()
}

/// Names that a statement gives values to.
fn assigned(statement: &Stmt, doc: Option<String>) -> Vec<Assigned<'_>> {
    targets(statement, &|expr| match expr {
        Expr::Name(name) => Some(name.id.to_string()),
        _ => None,
    })
    .into_iter()
    .map(|found| Assigned {
        doc: doc.clone(),
        ..found
    })
    .collect()
}

fn targets<'a>(statement: &'a Stmt, name: &dyn Fn(&Expr) -> Option<String>) -> Vec<Assigned<'a>> {
    let (mut open, annotation, value) = match statement {
        Stmt::Assign(assign) => {
            let open: Vec<&Expr> = assign.targets.iter().rev().collect();
            (open, None, Some(&*assign.value))
        }
        Stmt::AnnAssign(assign) => (
            vec![&*assign.target],
            Some(&*assign.annotation),
            assign.value.as_deref(),
        ),
        _ => return Vec::new(),
    };
    let mut found = Vec::new();
    let mut whole = true;
    while let Some(target) = open.pop() {
        match target {
            Expr::Tuple(tuple) => {
                whole = false;
                open.extend(tuple.elts.iter().rev());
            }
            Expr::List(list) => {
                whole = false;
                open.extend(list.elts.iter().rev());
            }
            Expr::Starred(starred) => open.push(&starred.value),
            other => found.extend(name(other).map(|name| Assigned {
                name,
                annotation,
                value: value.filter(|_| whole),
                doc: None,
                range: statement.range(),
            })),
        }
    }
    found
}

/// What `__init__` sets on its first parameter.
fn of_instance(function: &StmtFunctionDef) -> Vec<Assigned<'_>> {
    let first = function.parameters.iter_non_variadic_params().next();
    let Some(receiver) = first.map(|parameter| parameter.parameter.name.to_string()) else {
        return Vec::new();
    };
    let name = |expr: &Expr| match expr {
        Expr::Attribute(attribute) => match &*attribute.value {
            Expr::Name(name) if name.id.as_str() == receiver => Some(attribute.attr.to_string()),
            _ => None,
        },
        _ => None,
    };
    let statements = flat(&function.body);
    let mut found = Vec::new();
    for (at, statement) in statements.iter().enumerate() {
        let doc = statements
            .get(at + 1)
            .and_then(|next| docstring::of_statement(next));
        let all = targets(statement, &name).into_iter();
        // What is assigned there is seldom a default: a parameter of the same name, an expression of others.
        found.extend(all.map(|one| Assigned {
            doc: doc.clone(),
            value: None,
            ..one
        }));
    }
    found
}

/// Errors that a body raises itself, by the names in its `raise` statements.
fn raised(body: &[Stmt]) -> BTreeSet<String> {
    let found = flat(body)
        .into_iter()
        .filter_map(|statement| match statement {
            Stmt::Raise(raise) => callee(raise.exc.as_deref()?).0,
            _ => None,
        });
    let is_class = |name: &String| {
        let last = name.rsplit('.').next().unwrap_or_default();
        last.chars().next().is_some_and(char::is_uppercase)
    };
    found.filter(is_class).collect()
}
