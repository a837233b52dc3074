//! Tokenizers: text to token ids and back.
//!
//! One type, [`Tokenizer`], for the three kinds of file that Mistral models come with: tekken
//! (`tekken.json`), SentencePiece (`tokenizer.model`, `tokenizer.model.v*`) and Hugging Face
//! (`tokenizer.json`); GGUF files hold one of the first two. These are ours and give the ids that `mistral-common` gives; the
//! third runs on the `tokenizers` crate.
//!
//! Text is text: a control string such as `[INST]` or `</s>` in it never becomes a control token.
//! Those come from [`crate::chat`], or from [`Tokenizer::control_token`].

mod base64;
mod bpe;
mod bytes_map;
mod cache;
mod classes;
mod count;
mod error;
mod export;
mod gguf;
mod hf;
pub mod limits;
mod sentencepiece;
mod split;
mod stream;
mod tekken;
mod version;

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use self::hf::Hf;
use self::limits::{MAX_FILE_BYTES, MAX_TEXT_BYTES};
use self::sentencepiece::SentencePiece;
use self::stream::State;
use self::tekken::Tekken;
use crate::chat::ModelSettingsBuilder;

pub use self::error::TokenizerError;
pub use self::split::TEKKEN_PATTERN;
pub use self::stream::DecodeStream;
pub use self::tekken::TekkenParts;
pub use self::version::TokenizerVersion;

/// What decoding does with control tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ControlTokens {
    /// They give no text.
    Skip,
    /// They give their names. For SentencePiece all tokens give their pieces then, `▁` for spaces,
    /// which is the debug form of `mistral-common`.
    Keep,
}

/// Which tokens `encode_with` adds around a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Affixes {
    /// Begin-of-sequence first.
    pub bos: bool,
    /// End-of-sequence last.
    pub eos: bool,
}

/// Which kind of file a tokenizer came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenizerKind {
    /// `tekken.json`.
    Tekken,
    /// `tokenizer.model*`.
    SentencePiece,
    /// `tokenizer.json`.
    HuggingFace,
}

enum Kind {
    Tekken(Box<Tekken>),
    SentencePiece(Box<SentencePiece>),
    Hf(Box<Hf>),
}

/// A tokenizer ready to use. It is immutable and may be shared between threads.
pub struct Tokenizer {
    kind: Kind,
    version: Option<TokenizerVersion>,
    bos: Option<u32>,
    eos: Option<u32>,
    pad: Option<u32>,
    unk: Option<u32>,
    model_settings: Option<ModelSettingsBuilder>,
    affixes: Affixes,
    chat_template: Option<String>,
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokenizer")
            .field("kind", &self.kind())
            .field("version", &self.version)
            .field("vocab_size", &self.vocab_size())
            .finish_non_exhaustive()
    }
}

impl Tokenizer {
    /// Reads a tokenizer file, or the tokenizer of a model's directory.
    ///
    /// The kind is told by the content; a SentencePiece version by the file's name
    /// (`tokenizer.model.v3`; a bare `tokenizer.model` is v1). In a directory `tekken.json` comes
    /// before `tokenizer.model*`, and that before `tokenizer.json`. A `tokenizer_config.json`
    /// beside a `tokenizer.json` names its begin, end and padding tokens.
    ///
    /// # Errors
    /// [`TokenizerError`] for a file that cannot be read, is too large, or is invalid.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, TokenizerError> {
        let path = path.as_ref();
        let file = if path.is_dir() {
            find_in(path)?
        } else {
            path.to_path_buf()
        };
        let data = read_bounded(&file)?;
        let name = file
            .file_name()
            .map(|n| n.to_string_lossy().into_owned())
            .unwrap_or_default();
        let mut tokenizer = Self::from_bytes(&name, &data)?;
        if tokenizer.kind() == TokenizerKind::HuggingFace {
            let config = file.with_file_name("tokenizer_config.json");
            if config.is_file() {
                tokenizer.read_names(&read_bounded(&config)?)?;
            }
        }
        Ok(tokenizer)
    }

    /// Reads a tokenizer from the content of a file; `name` is the file's name, which for
    /// SentencePiece carries the version.
    ///
    /// # Errors
    /// [`TokenizerError`] for content that is too large or invalid.
    pub fn from_bytes(name: &str, data: &[u8]) -> Result<Self, TokenizerError> {
        if data.len() as u64 > MAX_FILE_BYTES {
            return Err(TokenizerError::TooLarge {
                what: "tokenizer file in bytes",
                found: data.len() as u64,
                limit: MAX_FILE_BYTES,
            });
        }
        if data.iter().find(|b| !b.is_ascii_whitespace()) != Some(&b'{') {
            return Self::from_sentencepiece(name, data);
        }
        let unknown = || TokenizerError::UnknownFormat {
            name: name.to_owned(),
        };
        let json = std::str::from_utf8(data).map_err(|_| unknown())?;
        match json_kind(json)? {
            Some(TokenizerKind::Tekken) => {
                let (tekken, parts) = tekken::from_json(json)?;
                Ok(Self::from_tekken(tekken, parts))
            }
            Some(_) => Ok(Self::from_hf(Hf::from_json(json)?)),
            None => Err(unknown()),
        }
    }

    /// Builds a tekken tokenizer from its settings and its ranks, stored as (length in one byte,
    /// bytes) in rank order.
    ///
    /// # Errors
    /// [`TokenizerError`] for ranks that are cut, or do not fit the settings.
    pub fn from_tekken_parts(parts: TekkenParts, ranks: &[u8]) -> Result<Self, TokenizerError> {
        let tekken = tekken::from_ranks(&parts, ranks)?;
        Ok(Self::from_tekken(tekken, parts))
    }

    fn from_tekken(tekken: Tekken, parts: TekkenParts) -> Self {
        let ids = ["<s>", "</s>", "<pad>", "<unk>"].map(|name| tekken.control_id(name));
        Self {
            version: Some(parts.version),
            model_settings: parts.model_settings,
            ..Self::bare(Kind::Tekken(Box::new(tekken)), ids)
        }
    }

    /// A tokenizer of these begin, end, padding and unknown tokens, without version or settings.
    fn bare(kind: Kind, [bos, eos, pad, unk]: [Option<u32>; 4]) -> Self {
        Self {
            kind,
            version: None,
            bos,
            eos,
            pad,
            unk,
            model_settings: None,
            affixes: Affixes {
                bos: true,
                eos: false,
            },
            chat_template: None,
        }
    }

    fn from_sentencepiece(name: &str, data: &[u8]) -> Result<Self, TokenizerError> {
        let version = if name.is_empty() {
            TokenizerVersion::V1
        } else {
            TokenizerVersion::from_model_name(name).map_err(|_| TokenizerError::UnknownFormat {
                name: name.to_owned(),
            })?
        };
        if version > TokenizerVersion::V7 {
            return Err(TokenizerError::VersionKind {
                version,
                kind: "SentencePiece",
            });
        }
        let model = SentencePiece::from_bytes(data)?;
        let settings = model.settings();
        let ids = [settings.bos, settings.eos, settings.pad, Some(model.unk())];
        Ok(Self {
            version: Some(version),
            ..Self::bare(Kind::SentencePiece(Box::new(model)), ids)
        })
    }

    fn from_hf(hf: Hf) -> Self {
        let ids = ["<s>", "</s>", "<pad>", "<unk>"].map(|name| hf.control_id(name));
        Self {
            version: version_of(&hf),
            ..Self::bare(Kind::Hf(Box::new(hf)), ids)
        }
    }

    /// The names of the begin, end and padding tokens that a `tokenizer_config.json` gives.
    fn read_names(&mut self, config: &[u8]) -> Result<(), TokenizerError> {
        let config: serde_json::Value = serde_json::from_slice(config)?;
        let Kind::Hf(hf) = &self.kind else {
            return Ok(());
        };
        let find = |key: &str| {
            let value = &config[key];
            let name = value.as_str().or_else(|| value["content"].as_str())?;
            Some(
                hf.control_id(name)
                    .ok_or_else(|| TokenizerError::NoControlToken {
                        name: name.to_owned(),
                    }),
            )
        };
        let (bos, eos, pad) = (find("bos_token"), find("eos_token"), find("pad_token"));
        self.bos = bos.transpose()?.or(self.bos);
        self.eos = eos.transpose()?.or(self.eos);
        // Many files name a padding token that the vocabulary lacks; nothing depends on it.
        self.pad = pad.and_then(Result::ok).or(self.pad);
        Ok(())
    }

    /// The same tokenizer with another version, which decides how chats are encoded.
    ///
    /// A `tokenizer.json` does not carry its version: it is told by its control tokens where these
    /// decide.
    #[must_use]
    pub fn with_version(mut self, version: TokenizerVersion) -> Self {
        self.version = Some(version);
        self
    }

    /// The same tokenizer with settings that requests may carry (v15): a `tekken.json` has its own,
    /// a `tokenizer.json` has none.
    #[must_use]
    pub fn with_model_settings(mut self, settings: ModelSettingsBuilder) -> Self {
        self.model_settings = Some(settings);
        self
    }

    /// Token ids of a text, without begin or end token.
    ///
    /// # Errors
    /// [`TokenizerError::TooLarge`] above [`limits::MAX_TEXT_BYTES`];
    /// [`TokenizerError::PatternSteps`] when a foreign regular expression gives up.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        self.encode_with(text, Affixes::default())
    }

    /// Token ids of a text with begin and end tokens as asked.
    ///
    /// # Errors
    /// As [`Self::encode`], and [`TokenizerError::NoControlToken`] when the tokenizer has no such
    /// token.
    pub fn encode_with(&self, text: &str, affixes: Affixes) -> Result<Vec<u32>, TokenizerError> {
        let mut ids = Vec::with_capacity(text.len() / 3 + 2);
        if affixes.bos {
            ids.push(self.bos.ok_or_else(|| no_control("<s>"))?);
        }
        self.encode_into(text, &mut ids)?;
        if affixes.eos {
            ids.push(self.eos.ok_or_else(|| no_control("</s>"))?);
        }
        Ok(ids)
    }

    /// Appends the token ids of a text.
    ///
    /// # Errors
    /// As [`Self::encode`]; `ids` may have grown then.
    pub fn encode_into(&self, text: &str, ids: &mut Vec<u32>) -> Result<(), TokenizerError> {
        if text.len() > MAX_TEXT_BYTES {
            return Err(TokenizerError::too_large(
                "text in bytes",
                text.len(),
                MAX_TEXT_BYTES,
            ));
        }
        match &self.kind {
            Kind::Tekken(tekken) => tekken.encode(text, ids)?,
            Kind::SentencePiece(model) => model.encode(text, ids),
            Kind::Hf(hf) => hf.encode(text, ids)?,
        }
        Ok(())
    }

    /// The text of token ids; control tokens give none. Bytes that are no UTF-8 become U+FFFD.
    ///
    /// # Errors
    /// [`TokenizerError::UnknownId`] for an id outside the vocabulary.
    pub fn decode(&self, ids: &[u32]) -> Result<String, TokenizerError> {
        self.decode_with(ids, ControlTokens::Skip)
    }

    /// The text of token ids, control tokens as asked.
    ///
    /// # Errors
    /// [`TokenizerError::UnknownId`] for an id outside the vocabulary.
    pub fn decode_with(
        &self,
        ids: &[u32],
        control: ControlTokens,
    ) -> Result<String, TokenizerError> {
        let mut state = State::new(control);
        let mut text = String::with_capacity(ids.len() * 4);
        for &id in ids {
            state.push(self, id, &mut text)?;
        }
        state.finish(self, &mut text);
        Ok(text)
    }

    /// Decodes tokens one by one; control tokens give no text.
    #[must_use]
    pub fn decode_stream(&self) -> DecodeStream<'_> {
        DecodeStream::new(self, ControlTokens::Skip)
    }

    /// Which kind of file this came from.
    #[must_use]
    pub fn kind(&self) -> TokenizerKind {
        match &self.kind {
            Kind::Tekken(_) => TokenizerKind::Tekken,
            Kind::SentencePiece(_) => TokenizerKind::SentencePiece,
            Kind::Hf(_) => TokenizerKind::HuggingFace,
        }
    }

    /// One above the highest id, control tokens included: as many rows as a model's embedding has
    /// at least. A `tokenizer.json` may leave ids below it out.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        match &self.kind {
            Kind::Tekken(tekken) => tekken.vocab_size(),
            Kind::SentencePiece(model) => model.vocab_size(),
            Kind::Hf(hf) => hf.vocab_size(),
        }
    }

    /// The version, which decides how chats are encoded; `None` for a `tokenizer.json` whose
    /// control tokens fit several (see [`Self::with_version`]).
    #[must_use]
    pub fn version(&self) -> Option<TokenizerVersion> {
        self.version
    }

    /// Id of the begin-of-sequence token.
    #[must_use]
    pub fn bos_id(&self) -> Option<u32> {
        self.bos
    }

    /// Id of the end-of-sequence token.
    #[must_use]
    pub fn eos_id(&self) -> Option<u32> {
        self.eos
    }

    /// Id of the padding token.
    #[must_use]
    pub fn pad_id(&self) -> Option<u32> {
        self.pad
    }

    /// Id of the unknown token.
    #[must_use]
    pub fn unk_id(&self) -> Option<u32> {
        self.unk
    }

    /// Id of a control token by its name, e.g. `[INST]`.
    ///
    /// # Errors
    /// [`TokenizerError::NoControlToken`] when there is none of that name.
    pub fn control_token(&self, name: &str) -> Result<u32, TokenizerError> {
        let found = match &self.kind {
            Kind::Tekken(tekken) => tekken.control_id(name),
            Kind::SentencePiece(model) => model.control_id(name),
            Kind::Hf(hf) => hf.control_id(name),
        };
        found.ok_or_else(|| no_control(name))
    }

    /// Whether an id is a control token.
    #[must_use]
    pub fn is_control(&self, id: u32) -> bool {
        match &self.kind {
            Kind::Tekken(tekken) => tekken.control(id).is_some(),
            Kind::SentencePiece(model) => {
                (id as usize) < model.vocab_size() && model.is_control(id)
            }
            Kind::Hf(hf) => hf.is_control(id),
        }
    }

    /// The token of an id for display: a control token's name, a SentencePiece piece, or the text
    /// of a byte-level token (U+FFFD for bytes that are no characters); `None` outside the
    /// vocabulary.
    #[must_use]
    pub fn id_to_piece(&self, id: u32) -> Option<String> {
        match &self.kind {
            Kind::Tekken(tekken) => match tekken.control(id) {
                Some(name) => Some(name.to_owned()),
                None => tekken
                    .bytes(id)
                    .map(|b| String::from_utf8_lossy(b).into_owned()),
            },
            Kind::SentencePiece(model) => model.piece(id).map(str::to_owned),
            Kind::Hf(hf) => hf.piece(id),
        }
    }

    /// The bytes that an id adds to a text; `None` for control tokens, which add none, and outside the
    /// vocabulary. A space that decoding drops from the start of a text is among them.
    #[must_use]
    pub fn token_bytes(&self, id: u32) -> Option<Vec<u8>> {
        if self.is_control(id) || Some(id) == self.unk {
            return None;
        }
        match &self.kind {
            Kind::Tekken(tekken) => tekken.bytes(id).map(<[u8]>::to_vec),
            Kind::SentencePiece(model) => match model.byte(id) {
                Some(byte) => Some(vec![byte]),
                None => model.surface(id).map(|text| text.as_bytes().to_vec()),
            },
            Kind::Hf(hf) => stream::hf_bytes(hf, id),
        }
    }

    /// The tokens that plain prompts get: a begin token, unless a GGUF file says otherwise.
    #[must_use]
    pub fn affixes(&self) -> Affixes {
        self.affixes
    }

    /// The chat template that a GGUF file carries, as text. Nothing here runs it: chats are encoded
    /// by [`Tokenizer::version`].
    #[must_use]
    pub fn chat_template(&self) -> Option<&str> {
        self.chat_template.as_deref()
    }

    /// Which settings a request may carry (v15).
    #[must_use]
    pub fn model_settings(&self) -> Option<&ModelSettingsBuilder> {
        self.model_settings.as_ref()
    }
}

fn no_control(name: &str) -> TokenizerError {
    TokenizerError::NoControlToken {
        name: name.to_owned(),
    }
}

/// The tokenizer file of a model's directory.
fn find_in(directory: &Path) -> Result<PathBuf, TokenizerError> {
    let read_error = |source| TokenizerError::Read {
        path: directory.to_path_buf(),
        source,
    };
    let mut names = Vec::new();
    for entry in directory.read_dir().map_err(read_error)? {
        names.push(
            entry
                .map_err(read_error)?
                .file_name()
                .to_string_lossy()
                .into_owned(),
        );
    }
    names.sort_unstable();
    let is_model = |name: &&String| {
        let version = name.rsplit_once(".model.").map(|(_, version)| version);
        name.ends_with(".model")
            || version.is_some_and(|_| TokenizerVersion::from_model_name(name).is_ok())
    };
    let found = names
        .iter()
        .find(|name| *name == "tekken.json")
        .or_else(|| names.iter().rfind(is_model))
        .or_else(|| names.iter().find(|name| *name == "tokenizer.json"));
    match found {
        Some(name) => Ok(directory.join(name)),
        None => Err(TokenizerError::NotFound {
            path: directory.to_path_buf(),
        }),
    }
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, TokenizerError> {
    let read_error = |source| TokenizerError::Read {
        path: path.to_path_buf(),
        source,
    };
    let file = File::open(path).map_err(read_error)?;
    let mut data = Vec::new();
    // One byte more than the limit tells a file that is too long, whatever its size claims.
    file.take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut data)
        .map_err(read_error)?;
    if data.len() as u64 > MAX_FILE_BYTES {
        return Err(TokenizerError::TooLarge {
            what: "tokenizer file in bytes",
            found: data.len() as u64,
            limit: MAX_FILE_BYTES,
        });
    }
    Ok(data)
}

/// Tells the two JSON kinds apart by their outer fields.
fn json_kind(json: &str) -> Result<Option<TokenizerKind>, TokenizerError> {
    #[derive(serde::Deserialize)]
    struct Fields {
        model: Option<serde::de::IgnoredAny>,
        config: Option<serde::de::IgnoredAny>,
        vocab: Option<serde::de::IgnoredAny>,
    }
    let fields: Fields = serde_json::from_str(json)?;
    Ok(match (fields.model, fields.config, fields.vocab) {
        (Some(_), _, None) => Some(TokenizerKind::HuggingFace),
        (None, Some(_), Some(_)) => Some(TokenizerKind::Tekken),
        _ => None,
    })
}

/// The version that the control tokens of a `tokenizer.json` decide, if they do.
fn version_of(hf: &Hf) -> Option<TokenizerVersion> {
    let has = |name| hf.control_id(name).is_some();
    if !has("[INST]") {
        return Some(TokenizerVersion::V1);
    }
    if has("[MODEL_SETTINGS]") {
        return Some(TokenizerVersion::V15);
    }
    if has("[THINK]") {
        return Some(TokenizerVersion::V13);
    }
    if has("[ARGS]") {
        return Some(TokenizerVersion::V11);
    }
    match (hf.byte_level, has("[SYSTEM_PROMPT]"), has("[PREFIX]")) {
        (false, true, _) => Some(TokenizerVersion::V7),
        (false, false, true) => Some(TokenizerVersion::V3),
        (false, false, false) => Some(TokenizerVersion::V2),
        // Tekken's v3 and v7 have the same control tokens.
        (true, _, _) => None,
    }
}
