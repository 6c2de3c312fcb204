// Reads a topic to its end with the Java client, read_committed, and prints what it got in the shape that
// tests/integration/kit/consumer.rs parses. Run: java -cp 'libs/*' Check.java BOOTSTRAP TOPIC

import java.io.BufferedOutputStream;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

public class Check {
    public static void main(String[] args) throws Exception {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", args[0]);
        properties.put("isolation.level", "read_committed");
        properties.put("auto.offset.reset", "earliest");
        properties.put("enable.auto.commit", "false");
        properties.put("key.deserializer", ByteArrayDeserializer.class.getName());
        properties.put("value.deserializer", ByteArrayDeserializer.class.getName());
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(properties);
                OutputStream out = new BufferedOutputStream(System.out)) {
            List<TopicPartition> partitions = new ArrayList<>();
            consumer.partitionsFor(args[1]).forEach(info -> partitions.add(new TopicPartition(args[1], info.partition())));
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
            while (partitions.stream().anyMatch(partition -> consumer.position(partition) < ends.get(partition))) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(200))) {
                    print(out, record);
                }
            }
        }
    }

    private static void print(OutputStream out, ConsumerRecord<byte[], byte[]> record) throws Exception {
        byte[] key = record.key();
        byte[] value = record.value();
        StringBuilder headers = new StringBuilder();
        for (Header header : record.headers()) {
            headers.append(headers.isEmpty() ? "" : ",").append(header.key()).append('=');
            headers.append(header.value() == null ? "NULL" : new String(header.value(), StandardCharsets.UTF_8));
        }
        String head = record.partition() + " " + record.offset() + " " + record.timestamp() + " "
                + (key == null ? -1 : key.length) + " " + (value == null ? -1 : value.length) + "\n";
        out.write(head.getBytes(StandardCharsets.UTF_8));
        out.write(key == null ? new byte[0] : key);
        out.write(("\n" + headers + "\n").getBytes(StandardCharsets.UTF_8));
        out.write(value == null ? new byte[0] : value);
        out.write('\n');
    }
}
