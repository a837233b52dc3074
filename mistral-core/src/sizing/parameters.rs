//! How many parameters a model has, by part, and how many a token uses.

use super::layers::kinds;
use super::product;
use crate::model::{AttentionKind, FeedForward, Indexer, ModelSpec, PositionScale, Scoring};
use crate::precision::Role;

/// A part of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// Token embedding.
    Embedding,
    /// Output projection, unless it is the embedding.
    Output,
    /// Projections of attention.
    Attention,
    /// The sparse-attention indexer.
    Indexer,
    /// Dense feed-forward layers.
    FeedForward,
    /// Routed experts.
    Experts,
    /// Experts that every token passes.
    SharedExperts,
    /// Routers.
    Router,
    /// Norms and learned scales.
    Scales,
}

/// Tensors of one part and one role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group {
    /// The part.
    pub part: Part,
    /// How recipes of precision treat it.
    pub role: Role,
    /// Elements.
    pub total: u64,
    /// Elements that one token uses; the embedding counts whole, as publishers count it.
    pub active: u64,
}

/// Sums over [`groups`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Parameters {
    /// All elements.
    pub total: u64,
    /// Elements that one token uses.
    pub active: u64,
    /// Elements of the embedding.
    pub embedding: u64,
    /// Elements of routed experts.
    pub experts: u64,
}

/// Parameters of a model: elements, all of them and those that one token uses. They equal the
/// element counts of the model's files.
///
/// ```
/// use mistral_core::{catalog::Catalog, sizing};
///
/// let mixtral = Catalog::embedded().get("mixtral-8x7b").expect("a released model");
/// let p = sizing::parameters(&mixtral.spec()?.expect("its configuration is public"));
/// assert_eq!((p.total, p.active), (46_702_792_704, 12_879_925_248));
/// # Ok::<(), mistral_core::CoreError>(())
/// ```
#[must_use]
pub fn parameters(spec: &ModelSpec) -> Parameters {
    let mut sum = Parameters::default();
    for g in groups(spec) {
        sum.total = sum.total.saturating_add(g.total);
        sum.active = sum.active.saturating_add(g.active);
        match g.part {
            Part::Embedding => sum.embedding = sum.embedding.saturating_add(g.total),
            Part::Experts => sum.experts = sum.experts.saturating_add(g.total),
            _ => {}
        }
    }
    sum
}

/// The tensors of a model, added up by part and role, in the order of [`Part`].
#[must_use]
pub fn groups(spec: &ModelSpec) -> Vec<Group> {
    let mut sums = Sums {
        groups: Vec::new(),
        times: 1,
    };
    sums.add(
        Part::Embedding,
        Role::Embedding,
        &[spec.vocab_size, spec.dim],
    );
    if !spec.tied_embeddings {
        sums.add(Part::Output, Role::Output, &[spec.vocab_size, spec.dim]);
    }
    for kind in kinds(spec) {
        let i = kind.first;
        sums.times = kind.layers;
        attention(spec, i, &mut sums);
        indexer(spec, i, &mut sums);
        feed_forward(spec, i, &mut sums);
        sums.add(Part::Scales, Role::Small, &[2, spec.dim]);
    }
    sums.times = 1;
    sums.add(Part::Scales, Role::Small, &[spec.dim]);
    if spec.rope.learned_scale {
        sums.add(Part::Scales, Role::Small, &[spec.rope.dim / 2]);
    }
    sums.groups.sort_by_key(|g| g.part);
    sums.groups
}

struct Sums {
    groups: Vec<Group>,
    /// Layers that have what is added.
    times: u64,
}

impl Sums {
    fn add(&mut self, part: Part, role: Role, shape: &[usize]) {
        let n = product(shape);
        self.add_active(part, role, n, n);
    }

    fn add_active(&mut self, part: Part, role: Role, total: u64, active: u64) {
        let (total, active) = (
            total.saturating_mul(self.times),
            active.saturating_mul(self.times),
        );
        let same = |g: &&mut Group| g.part == part && g.role == role;
        if let Some(g) = self.groups.iter_mut().find(same) {
            g.total = g.total.saturating_add(total);
            g.active = g.active.saturating_add(active);
        } else {
            self.groups.push(Group {
                part,
                role,
                total,
                active,
            });
        }
    }
}

fn attention(spec: &ModelSpec, i: usize, sums: &mut Sums) {
    let (dim, heads) = (spec.dim, spec.n_heads);
    match &spec.attention {
        AttentionKind::Gqa(g) => {
            sums.add(
                Part::Attention,
                Role::AttentionInput,
                &[dim, heads, g.head_dim],
            );
            if spec.owns_kv(i) {
                sums.add(
                    Part::Attention,
                    Role::AttentionInput,
                    &[dim, g.n_kv_heads, g.head_dim],
                );
                sums.add(
                    Part::Attention,
                    Role::Value,
                    &[dim, g.n_kv_heads, g.head_dim],
                );
            }
            sums.add(
                Part::Attention,
                Role::AttentionOutput,
                &[dim, heads, g.head_dim],
            );
        }
        AttentionKind::Mla(m) => {
            let (nope, rope) = m.split(spec.layers[i].rope);
            let query = nope.saturating_add(rope);
            if let Some(rank) = m.q_lora_rank {
                sums.add(Part::Attention, Role::AttentionInput, &[dim, rank]);
                sums.add(Part::Attention, Role::AttentionInput, &[rank, heads, query]);
                sums.add(Part::Scales, Role::Small, &[rank]);
            } else {
                sums.add(Part::Attention, Role::AttentionInput, &[dim, heads, query]);
            }
            if spec.owns_kv(i) {
                let latent = m.kv_lora_rank.saturating_add(rope);
                sums.add(Part::Attention, Role::AttentionInput, &[dim, latent]);
                sums.add(Part::Scales, Role::Small, &[m.kv_lora_rank]);
            }
            sums.add(
                Part::Attention,
                Role::Value,
                &[m.kv_lora_rank, heads, nope.saturating_add(m.v_head_dim)],
            );
            sums.add(
                Part::Attention,
                Role::AttentionOutput,
                &[dim, heads, m.v_head_dim],
            );
        }
    }
    if spec.position_scale == PositionScale::SsMax {
        sums.add(Part::Scales, Role::Small, &[2, heads]);
    }
}

/// The indexer of a layer that has its own.
fn indexer(spec: &ModelSpec, i: usize, sums: &mut Sums) {
    let (Some(x), Indexer::Full) = (&spec.indexer, spec.layers[i].indexer) else {
        return;
    };
    let dim = spec.dim;
    let mut add = |role, shape: &[usize]| sums.add(Part::Indexer, role, shape);
    add(Role::AttentionInput, &[dim, x.n_heads, x.head_dim]);
    add(Role::AttentionInput, &[dim, x.head_dim]);
    add(Role::Small, &[dim, x.n_heads]);
    // A layer norm with bias on the input of the query and on the key.
    add(Role::Small, &[2, dim]);
    add(Role::Small, &[2, x.head_dim]);
    if spec.position_scale == PositionScale::SsMax {
        add(Role::Small, &[2, x.n_heads]);
    }
}

fn feed_forward(spec: &ModelSpec, i: usize, sums: &mut Sums) {
    let dim = spec.dim;
    let moe = match (&spec.moe, spec.layers[i].feed_forward) {
        (Some(moe), FeedForward::Moe) => moe,
        _ => {
            sums.add(
                Part::FeedForward,
                Role::FeedForwardIn,
                &[2, dim, spec.hidden_dim],
            );
            sums.add(
                Part::FeedForward,
                Role::FeedForwardOut,
                &[dim, spec.hidden_dim],
            );
            return;
        }
    };
    let matrix = product(&[dim, moe.expert_hidden_dim]);
    for (role, matrices) in [(Role::FeedForwardIn, 2u64), (Role::FeedForwardOut, 1)] {
        let one = matrix.saturating_mul(matrices);
        sums.add_active(
            Part::Experts,
            role,
            one.saturating_mul(moe.num_experts as u64),
            one.saturating_mul(moe.num_experts_per_tok as u64),
        );
        if moe.num_shared_experts > 0 {
            let shared = one.saturating_mul(moe.num_shared_experts as u64);
            sums.add_active(Part::SharedExperts, role, shared, shared);
        }
    }
    sums.add(Part::Router, Role::Small, &[dim, moe.num_experts]);
    if moe.scoring == Scoring::Sigmoid {
        sums.add(Part::Router, Role::Small, &[moe.num_experts]);
    }
}
