//! Generates broken lines: mutated lines and random bytes.

use proptest::prelude::*;
use proptest::sample::Index;

use super::grammar::{Bytes, as_one_line, generated, is, one_of};
use crate::conformance;

#[derive(Debug, Clone)]
enum Mutation {
    Insert(Index, u8),
    Delete(Index),
    Replace(Index, u8),
    /// Repeats the bytes between two positions.
    Duplicate(Index, Index),
    Truncate(Index),
    Swap(Index, Index),
}

fn byte() -> impl Strategy<Value = u8> {
    prop_oneof![
        8 => proptest::sample::select(&b":|@#,;=[]{}\\"[..]),
        4 => proptest::sample::select(&b"_escTmghdkvn.+-e0123459 \r"[..]),
        1 => any::<u8>(),
    ]
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let place = any::<Index>;
    prop_oneof![
        4 => (place(), byte()).prop_map(|(at, byte)| Mutation::Insert(at, byte)),
        3 => place().prop_map(Mutation::Delete),
        3 => (place(), byte()).prop_map(|(at, byte)| Mutation::Replace(at, byte)),
        2 => (place(), place()).prop_map(|(from, to)| Mutation::Duplicate(from, to)),
        1 => place().prop_map(Mutation::Truncate),
        1 => (place(), place()).prop_map(|(one, other)| Mutation::Swap(one, other)),
    ]
}

fn mutate(mut line: Bytes, mutations: &[Mutation]) -> Bytes {
    for mutation in mutations {
        let end = line.len();
        match mutation {
            Mutation::Insert(at, byte) => line.insert(at.index(end + 1), *byte),
            _ if line.is_empty() => {}
            Mutation::Delete(at) => _ = line.remove(at.index(end)),
            Mutation::Replace(at, byte) => line[at.index(end)] = *byte,
            Mutation::Duplicate(from, to) => {
                let (from, to) = (from.index(end), to.index(end));
                let (from, to) = (from.min(to), from.max(to) + 1);
                let twice = line[from..to].repeat(2);
                line.splice(from..to, twice);
            }
            Mutation::Truncate(at) => line.truncate(at.index(end)),
            Mutation::Swap(one, other) => line.swap(one.index(end), other.index(end)),
        }
    }
    as_one_line(line)
}

pub(super) fn mutated() -> impl Strategy<Value = Bytes> {
    let line = prop_oneof![generated(), proptest::sample::select(conformance::lines())];
    (line, proptest::collection::vec(mutation(), 1..5)).prop_map(|(line, mutations)| mutate(line, &mutations))
}

pub(super) fn random() -> impl Strategy<Value = Bytes> {
    let byte = prop_oneof![
        10 => proptest::sample::select(&b"a1:|c@#,;=[]"[..]),
        4 => proptest::sample::select(&b"gmshdkv_e{}Tct.+-\\n0\r"[..]),
        1 => proptest::sample::select(&b"\xc3\xa9\xff\x00\x7f "[..]),
    ];
    let start = prop_oneof![
        3 => is(""),
        4 => one_of(&["a:1|c", "a:1|", "a:1|c|", "a:1|c|#", "a:1|c|@0.1", "a:1|c:", "a[", "a,b"]),
        2 => one_of(&["_e{", "_e{1,1}:", "_e{1,1}:a|b|", "_sc|", "_sc|a|0|"]),
    ];
    (start, proptest::collection::vec(byte, 1..24)).prop_map(|(start, rest)| [start, rest].concat())
}
