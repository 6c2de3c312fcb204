//! For tests: writes small databases in the MaxMind DB format, version 2.0. Not here: sharing of equal data, and records of less
//! than 32 bits.

use core::net::{IpAddr, Ipv4Addr};

use serde_json::{Value, json};

/// A database of this type: networks (address and length of the prefix), each with its record. None is within another.
pub(crate) fn write(database_type: &str, networks: &[(&str, u32, Value)]) -> Vec<u8> {
    const EMPTY: u64 = u64::MAX;
    const DATA: u64 = 1 << 32;
    let (mut nodes, mut data) = (vec![[EMPTY; 2]], Vec::new());
    for (address, length, record) in networks {
        let (bits, length) = match address.parse().expect("an address") {
            IpAddr::V4(address) => (u128::from(Ipv4Addr::to_bits(address)), length + 96),
            IpAddr::V6(address) => (address.to_bits(), *length),
        };
        let mut node = 0;
        for depth in 0..length {
            let side = usize::from(bits >> (127 - depth) & 1 == 1);
            if depth + 1 == length {
                nodes[node][side] = DATA + data.len() as u64;
            } else {
                if nodes[node][side] == EMPTY {
                    nodes[node][side] = nodes.len() as u64;
                    nodes.push([EMPTY; 2]);
                }
                node = nodes[node][side] as usize;
            }
        }
        put(record, &mut data);
    }
    let count = nodes.len() as u64;
    let mut file = Vec::new();
    for record in nodes.into_iter().flatten() {
        let value = match record {
            EMPTY => count,
            offset if offset >= DATA => count + 16 + (offset - DATA),
            node => node,
        };
        file.extend_from_slice(&u32::try_from(value).expect("it is small").to_be_bytes());
    }
    file.extend_from_slice(&[0; 16]);
    file.extend(data);
    file.extend_from_slice(b"\xab\xcd\xefMaxMind.com");
    let metadata = json!({
        "binary_format_major_version": 2, "binary_format_minor_version": 0, "build_epoch": 1, "database_type": database_type,
        "description": {}, "ip_version": 6, "languages": ["en"], "node_count": count, "record_size": 32,
    });
    put(&metadata, &mut file);
    file
}

fn put(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::String(text) => {
            head(2, text.len(), out);
            out.extend_from_slice(text.as_bytes());
        }
        Value::Number(number) if number.is_f64() => {
            head(3, 8, out);
            out.extend_from_slice(&number.as_f64().expect("a float").to_be_bytes());
        }
        Value::Number(number) => {
            head(6, 4, out);
            out.extend_from_slice(&u32::try_from(number.as_u64().expect("positive")).expect("small").to_be_bytes());
        }
        Value::Array(values) => {
            head(11, values.len(), out);
            values.iter().for_each(|value| put(value, out));
        }
        Value::Object(map) => {
            head(7, map.len(), out);
            for (key, value) in map {
                put(&json!(key), out);
                match (key.as_str(), value.as_u64()) {
                    // What the metadata has in other widths.
                    ("build_epoch", Some(number)) => {
                        head(9, 8, out);
                        out.extend_from_slice(&number.to_be_bytes());
                    }
                    (key, Some(number)) if key.ends_with("_version") || key == "record_size" => {
                        head(5, 2, out);
                        out.extend_from_slice(&u16::try_from(number).expect("small").to_be_bytes());
                    }
                    _ => put(value, out),
                }
            }
        }
        Value::Null | Value::Bool(_) => panic!("not needed"),
    }
}

fn head(kind: u8, size: usize, out: &mut Vec<u8>) {
    let (short, long) = if size < 29 { (size, None) } else { (29, Some(size - 29)) };
    let short = u8::try_from(short).expect("at most 29");
    out.push(if kind < 8 { kind << 5 | short } else { short });
    out.extend((kind >= 8).then(|| kind - 7));
    out.extend(long.map(|long| u8::try_from(long).expect("a short text")));
}
