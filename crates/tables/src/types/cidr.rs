//! `cidr:`: networks to values, the first rule that matches wins.
//!
//! Rules become disjoint address ranges when the table is opened: each range knows the first rule that covers it, so a
//! lookup is a binary search however many rules there are, and negation and `if` blocks cost nothing.

use std::collections::BTreeSet;
use std::net::IpAddr;

use bstr::{BString, ByteSlice};

use crate::cidr::{self, Network};
use crate::error::{Error, Fault};
use crate::file_watch::FileWatch;
use crate::table::{Owner, Source};
use crate::types::rule_text::{RuleText, keyword};

/// Inclusive.
type Range = (u128, u128);

/// No rule covers the range.
const NONE: u32 = u32::MAX;

/// One address family: range `i` goes from `starts[i]` up to the next start and belongs to rule `rules[i]`.
#[derive(Default)]
struct Ranges<T> {
    starts: Vec<T>,
    rules: Vec<u32>,
}

impl<T: Ord + Copy> Ranges<T> {
    fn rule(&self, address: T) -> Option<usize> {
        let after = self.starts.partition_point(|start| *start <= address);
        let rule = *self.rules.get(after.checked_sub(1)?)?;
        (rule != NONE).then_some(rule as usize)
    }
}

/// The table.
pub(crate) struct Cidr {
    values: Vec<BString>,
    v4: Ranges<u32>,
    v6: Ranges<u128>,
    watch: Option<FileWatch>,
}

/// A rule or the start of a block: which addresses of which family.
struct Matcher {
    is_v4: bool,
    ranges: Vec<Range>,
}

/// Largest address of a family.
fn last(is_v4: bool) -> u128 {
    if is_v4 { u128::from(u32::MAX) } else { u128::MAX }
}

impl Matcher {
    fn new(network: &Network, negated: bool) -> Self {
        let (start, width) = match network.address() {
            IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
            IpAddr::V6(address) => (address.to_bits(), 128),
        };
        let is_v4 = network.address().is_ipv4();
        let host = u128::MAX.checked_shr(128 - (width - u32::from(network.bits()))).unwrap_or(0);
        let end = start | host;
        let ranges = if negated {
            let before = start.checked_sub(1).map(|before| (0, before));
            let after = (end < last(is_v4)).then(|| (end + 1, last(is_v4)));
            before.into_iter().chain(after).collect()
        } else {
            vec![(start, end)]
        };
        Self { is_v4, ranges }
    }

    /// What both match; another family matches nothing.
    fn within(mut self, block: &Self) -> Self {
        if self.is_v4 != block.is_v4 {
            self.ranges.clear();
            return self;
        }
        let mut ranges = Vec::new();
        for (start, end) in &self.ranges {
            for (block_start, block_end) in &block.ranges {
                let (start, end) = (*start.max(block_start), *end.min(block_end));
                if start <= end {
                    ranges.push((start, end));
                }
            }
        }
        Self { is_v4: self.is_v4, ranges }
    }
}

impl Cidr {
    pub(crate) fn open(name: &str) -> Result<Self, Error> {
        let text = RuleText::read("cidr", name)?;
        Ok(Self { watch: text.watch, ..Self::compile(name, &text.lines) })
    }

    fn compile(name: &str, lines: &[(BString, usize)]) -> Self {
        let mut values = Vec::new();
        let mut rules: Vec<Matcher> = Vec::new();
        let mut blocks: Vec<(Matcher, usize)> = Vec::new();
        for (line, number) in lines {
            let skip = |reason: &str| log::warning!("cidr map {name}, line {number}: {reason}: skipping this rule");
            if let Some(rest) = keyword(line, "endif") {
                if !rest.is_empty() {
                    skip("garbage after ENDIF");
                } else if blocks.pop().is_none() {
                    log::warning!("cidr map {name}, line {number}: ignoring ENDIF without matching IF");
                }
                continue;
            }
            let (pattern, block) = match keyword(line, "if") {
                Some(rest) => (rest, true),
                None => (line.as_bytes(), false),
            };
            let bare = pattern.trim_start_with(|character| character == '!' || character.is_ascii_whitespace());
            let negated = pattern[..pattern.len() - bare.len()].iter().filter(|byte| **byte == b'!').count() % 2 == 1;
            let end = bare.iter().position(u8::is_ascii_whitespace).unwrap_or(bare.len());
            let (network, value) = (&bare[..end], bare[end..].trim_ascii());
            let network = match network.to_str().map_err(|error| error.to_string()).and_then(cidr::parse) {
                Ok(network) => network,
                Err(reason) => {
                    skip(&reason);
                    continue;
                }
            };
            let mut matcher = Matcher::new(&network, negated);
            if let Some((outer, _)) = blocks.last() {
                matcher = matcher.within(outer);
            }
            if block {
                if !value.is_empty() {
                    log::warning!("cidr map {name}, line {number}: ignoring extra text after IF pattern");
                }
                blocks.push((matcher, *number));
                continue;
            }
            if value.is_empty() {
                skip(&format!("no address result: \"{}\"", line.as_bstr()));
                continue;
            }
            rules.push(matcher);
            values.push(value.into());
        }
        for (_, number) in blocks {
            log::warning!("cidr map {name}, line {number}: IF has no matching ENDIF");
        }
        let v6 = sweep(&rules, false);
        let v4 = sweep(&rules, true);
        let v4 = Ranges { starts: v4.starts.iter().map(|start| *start as u32).collect(), rules: v4.rules };
        Self { values, v4, v6, watch: None }
    }
}

/// The disjoint ranges of one family: goes over all starts and ends in order with the set of rules that cover the place.
fn sweep(rules: &[Matcher], is_v4: bool) -> Ranges<u128> {
    // (address, whether the rule begins to cover it, rule); a range that ends at the last address never stops.
    let mut events: Vec<(u128, bool, u32)> = Vec::new();
    for (index, rule) in rules.iter().enumerate().filter(|(_, rule)| rule.is_v4 == is_v4) {
        let index = u32::try_from(index).unwrap_or(NONE - 1);
        for (start, end) in &rule.ranges {
            events.push((*start, true, index));
            if *end < last(is_v4) {
                events.push((end + 1, false, index));
            }
        }
    }
    // Ends sort before starts, so a rule whose ranges touch stays in the set.
    events.sort_unstable();
    let mut ranges = Ranges::default();
    let mut covering = BTreeSet::new();
    let mut events = events.into_iter().peekable();
    while let Some((address, begins, rule)) = events.next() {
        if begins {
            covering.insert(rule);
        } else {
            covering.remove(&rule);
        }
        if events.peek().is_some_and(|next| next.0 == address) {
            continue;
        }
        let first = covering.first().copied().unwrap_or(NONE);
        if ranges.rules.last() != Some(&first) {
            ranges.starts.push(address);
            ranges.rules.push(first);
        }
    }
    ranges
}

impl Source for Cidr {
    fn lookup(&self, key: &[u8]) -> Result<Option<BString>, Fault> {
        let rule = match cidr::parse_address(key) {
            Some(IpAddr::V4(address)) => self.v4.rule(address.to_bits()),
            Some(IpAddr::V6(address)) => self.v6.rule(address.to_bits()),
            None => None,
        };
        Ok(rule.map(|rule| self.values[rule].clone()))
    }

    fn is_fixed(&self) -> bool {
        false
    }

    fn has_changed(&self) -> bool {
        self.watch.as_ref().is_some_and(FileWatch::has_changed)
    }

    fn owner(&self) -> Owner {
        self.watch.as_ref().map_or(Owner::Root, FileWatch::owner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn table(rules: &[String]) -> Cidr {
        let lines: Vec<_> = rules.iter().enumerate().map(|(index, rule)| (rule.as_str().into(), index + 1)).collect();
        Cidr::compile("test", &lines)
    }

    /// What the format means, rule by rule.
    fn scan(rules: &[String], address: IpAddr) -> Option<BString> {
        let mut skipping = 0;
        let mut depth = 0;
        for rule in rules {
            let (words, block) = match rule.strip_prefix("if ") {
                Some(rest) => (rest, true),
                None => (rule.as_str(), false),
            };
            if rule == "endif" {
                skipping -= i32::from(skipping > 0);
                depth -= i32::from(skipping == 0 && depth > 0);
                continue;
            }
            if skipping > 0 {
                skipping += i32::from(block);
                continue;
            }
            let (pattern, value) = words.split_once(' ').unwrap_or((words, ""));
            let network = cidr::parse(pattern.trim_start_matches('!')).expect("well-formed");
            let same = network.address().is_ipv4() == address.is_ipv4();
            let matches = same && network.contains(address) != pattern.starts_with('!');
            match (block, matches) {
                (true, true) => depth += 1,
                (true, false) => skipping = 1,
                (false, true) => return Some(value.into()),
                (false, false) => {}
            }
        }
        None
    }

    fn network() -> impl Strategy<Value = String> {
        // Few distinct bits, so that networks nest and touch.
        let v4 = (0_u32..64, 24_u8..=32).prop_map(|(bits, length)| {
            let address = (bits << 2 | bits >> 4) & 0xff;
            let address = address & u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
            format!("{}/{length}", std::net::Ipv4Addr::from_bits(address))
        });
        let v6 = (0_u128..16, 120_u8..=128).prop_map(|(bits, length)| {
            let address = (bits << 4) & (u128::MAX << (128 - u32::from(length)).min(127));
            format!("{}/{length}", std::net::Ipv6Addr::from_bits(address))
        });
        let edges = prop_oneof![Just("0.0.0.0/0".to_owned()), Just("::/0".to_owned()), Just("0.0.0.0/1".to_owned())];
        (any::<bool>(), prop_oneof![6 => v4, 3 => v6, 1 => edges])
            .prop_map(|(negated, network)| format!("{}{network}", if negated { "!" } else { "" }))
    }

    proptest! {
        #[test]
        fn ranges_answer_as_a_scan_of_the_rules(
            lines in prop::collection::vec((0_u8..8, network()), 0..40),
            v4 in prop::collection::vec(0_u32..256, 20),
            v6 in prop::collection::vec(0_u128..256, 10),
        ) {
            let mut depth = 0;
            let mut rules: Vec<String> = Vec::new();
            for (index, (kind, network)) in lines.into_iter().enumerate() {
                match kind {
                    0 => { rules.push(format!("if {network}")); depth += 1; }
                    1 if depth > 0 => { rules.push("endif".to_owned()); depth -= 1; }
                    _ => rules.push(format!("{network} value{index}")),
                }
            }
            rules.extend(std::iter::repeat_n("endif".to_owned(), depth));
            let table = table(&rules);
            let addresses = v4.into_iter().map(|bits| IpAddr::V4(bits.into()))
                .chain(v6.into_iter().map(|bits| IpAddr::V6(bits.into())))
                .chain(["255.255.255.255", "128.0.0.0", "ffff::"].map(|text| text.parse().expect("address")));
            for address in addresses {
                prop_assert_eq!(table.lookup(address.to_string().as_bytes()), Ok(scan(&rules, address)), "{}", address);
            }
        }
    }
}
