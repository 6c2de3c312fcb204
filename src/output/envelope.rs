//! A record with all that Kafka would keep of it, as one JSON object: the form of kcat's `-J`, for files and for `logferry try`.

use serde_json::{Map, Value, json};

use crate::batch::{Header, Record};

/// The object: `topic`, `ts` (milliseconds since the epoch), `headers` (names and values in turn), `key`, `payload`. Bytes that
/// are no UTF-8 are replaced by U+FFFD.
pub fn envelope(topic: &str, record: &Record, buf: &[u8], headers: &[Vec<Header>]) -> Value {
    let text = |bytes: &[u8]| Value::from(String::from_utf8_lossy(bytes).into_owned());
    let pair = |header: &Header| [Value::from(&*header.name), text(header.value_in(buf))];
    let headers: Vec<Value> = record.headers_in(headers).iter().flat_map(pair).collect();
    let mut envelope = Map::new();
    envelope.insert("topic".into(), topic.into());
    envelope.insert("ts".into(), record.timestamp_ms.into());
    envelope.insert("headers".into(), json!(headers));
    envelope.insert("key".into(), record.key_in(buf).map_or(Value::Null, text));
    envelope.insert("payload".into(), text(record.value_in(buf)));
    Value::Object(envelope)
}
