//! Leads the calls of librdkafka's broker threads that wait for their socket through `output::kafka::idle`, which says why.
//! Who links librdkafka without this crate has to name it (`use logferry as _`).

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-link-arg=-Wl,--wrap=rd_kafka_transport_io_serve");
}
