use super::{Attention, KvCache, Selected};
use crate::Cpu;
use crate::cpu::SharedMut;

pub(super) fn attend(
    cpu: &Cpu,
    attention: &Attention,
    (q, t): (&[f32], usize),
    first_position: usize,
    cache: &KvCache<'_>,
    selected: Option<&Selected>,
    out: &mut [f32],
) {
    let (heads, d, dv) = (attention.n_heads, cache.d(), cache.dv());
    let group = heads / cache.n_kv_heads();
    let out = SharedMut::new(out);
    cpu.run(t * heads, &|task, _| {
        let (i, h) = (task / heads, task % heads);
        let position = first_position + i;
        let q = &q[task * d..(task + 1) * d];
        // SAFETY: each head of each query belongs to one task.
        #[expect(unsafe_code, reason = "tasks write disjoint rows")]
        let out = unsafe { out.slice(task * dv..(task + 1) * dv) };
        out.fill(0.0);
        let (mut max, mut sum) = (f32::NEG_INFINITY, 0.0f32);
        let mut see = |p: usize| {
            let mut dot = 0.0;
            for (j, q) in q.iter().enumerate() {
                dot += q * cache.key(h / group, p, j);
            }
            let s = dot * attention.scale;
            if s > max {
                let c = (max - s).exp();
                sum *= c;
                out.iter_mut().for_each(|o| *o *= c);
                max = s;
            }
            let e = (s - max).exp();
            sum += e;
            for (j, o) in out.iter_mut().enumerate() {
                *o += e * cache.value(h / group, p, j);
            }
        };
        match selected {
            None => (attention.first_visible(position)..=position).for_each(&mut see),
            Some(s) => s.row(i).iter().for_each(|&p| see(p as usize)),
        }
        if sum > 0.0 {
            out.iter_mut().for_each(|o| *o /= sum);
        }
    });
}
