//! Every operation against its f64 definition, on every instruction set of this machine.

mod attention;
mod blocks;
mod fixtures;
mod linear;
mod mla;
mod moe;
mod norm;
mod quantize;
mod rope;
mod sample;
mod scale;
mod schedule;
