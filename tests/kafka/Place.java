// Prints the partition that the Java client's own partitioner chooses for each key: one key a line on standard input, in
// hexadecimal, since keys are bytes. Run: java -cp 'libs/*' Place.java PARTITIONS

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.HexFormat;
import org.apache.kafka.clients.producer.internals.BuiltInPartitioner;

public class Place {
    public static void main(String[] args) throws Exception {
        int partitions = Integer.parseInt(args[0]);
        StringBuilder out = new StringBuilder();
        try (BufferedReader in = new BufferedReader(new InputStreamReader(System.in))) {
            for (String line = in.readLine(); line != null; line = in.readLine()) {
                byte[] key = HexFormat.of().parseHex(line);
                out.append(BuiltInPartitioner.partitionForKey(key, partitions)).append('\n');
            }
        }
        System.out.print(out);
    }
}
