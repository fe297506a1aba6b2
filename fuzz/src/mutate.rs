use fastrand::Rng;

/// Returns a mutation of an input, with words of its format and parts of others.
pub fn mutate(rng: &mut Rng, mut input: Vec<u8>, corpus: &[Vec<u8>], words: &[&str]) -> Vec<u8> {
    // Most are close to an input that makes sense, because what is far from one is refused at its first byte.
    for _ in 0..=rng.usize(..6).saturating_sub(1) {
        change(rng, &mut input, corpus, words);
    }
    input.truncate(LONGEST);
    input
}

fn change(rng: &mut Rng, input: &mut Vec<u8>, corpus: &[Vec<u8>], words: &[&str]) {
    let at = rng.usize(..=input.len());
    let end = at + rng.usize(..=(input.len() - at).min(16));
    let of_target = || words.iter().copied().chain(WORDS);
    match rng.u8(..10) {
        0 => drop(input.splice(at..end, [])),
        1 => drop(input.splice(at..at, [rng.u8(..)])),
        2 => {
            let word = of_target()
                .nth(rng.usize(..of_target().count()))
                .unwrap_or_default();
            input.splice(at..end, word.bytes());
        }
        3 => {
            let word = of_target()
                .nth(rng.usize(..of_target().count()))
                .unwrap_or_default();
            input.splice(at..at, word.bytes());
        }
        4 => {
            let part = input.get(at..end).unwrap_or_default().to_vec();
            let times = if rng.u8(..20) == 0 { 200 } else { 2 };
            input.splice(at..at, part.repeat(times));
        }
        5 => {
            let other = any(rng, corpus);
            let from = rng.usize(..=other.len());
            let to = from + rng.usize(..=other.len() - from);
            let part = other.get(from..to).unwrap_or_default().to_vec();
            input.splice(at..end, part);
        }
        6 => number(rng, input),
        7 => {
            if let Some(byte) = input.get_mut(at) {
                *byte ^= 1 << rng.u8(..8);
            }
        }
        8 => {
            let text = (b' '..=b'~').nth(rng.usize(..95)).unwrap_or(b' ');
            input.splice(at..end.min(at + 1), [text]);
        }
        _ => {
            if let Some(byte) = input.get_mut(at) {
                *byte = if byte.is_ascii_lowercase() {
                    byte.to_ascii_uppercase()
                } else {
                    byte.to_ascii_lowercase()
                };
            }
        }
    }
}

/// Puts another number in place of one.
fn number(rng: &mut Rng, input: &mut Vec<u8>) {
    let starts: Vec<usize> = (0..input.len())
        .filter(|at| input.get(*at).is_some_and(u8::is_ascii_digit))
        .collect();
    let Some(start) = rng.choice(starts) else {
        return;
    };
    let digits = input
        .iter()
        .skip(start)
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let number = NUMBERS
        .get(rng.usize(..NUMBERS.len()))
        .copied()
        .unwrap_or_default();
    input.splice(start..start + digits, number.bytes());
}

fn any(rng: &mut Rng, corpus: &[Vec<u8>]) -> Vec<u8> {
    rng.choice(corpus).cloned().unwrap_or_default()
}

/// Longer than any limit on the length of an input.
const LONGEST: usize = 100_000;

/// What parsers of many formats take for something.
const WORDS: [&str; 24] = [
    "\"",
    "\\",
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    ".",
    "-",
    "+",
    "\r\n",
    "\n",
    "\0",
    "\u{feff}",
    "é",
    "\u{1F980}",
    "null",
    "true",
    "\\u0000",
    "\\ud800",
    "%2F",
    "e9",
    "[[[[[[[[",
];

const NUMBERS: [&str; 14] = [
    "0",
    "1",
    "-1",
    "00",
    "60",
    "255",
    "256",
    "65535",
    "65536",
    "4294967296",
    "9223372036854775807",
    "18446744073709551616",
    "0.5",
    "1e400",
];
