// Reports what a Java program observes, with nothing but the JDK (11 or later), and prints the verdict:
//   VAGUS_URL=http://127.0.0.1:7117 VAGUS_TOKEN=... java examples/health/Report.java db@2 read UNHEALTHY 30

import java.net.URI;
import java.net.URLEncoder;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.time.Duration;

public class Report {
    static final String URL = System.getenv().getOrDefault("VAGUS_URL", "http://127.0.0.1:7117");
    static final HttpClient CLIENT = HttpClient.newBuilder().connectTimeout(Duration.ofSeconds(2)).build();

    static String ask(String path, String body) throws Exception {
        var request = HttpRequest.newBuilder(URI.create(URL + path)).timeout(Duration.ofSeconds(5))
                .header("Authorization", "Bearer " + System.getenv("VAGUS_TOKEN"))
                .header("Content-Type", "application/json")
                .method(body == null ? "GET" : "POST", body == null
                        ? HttpRequest.BodyPublishers.noBody() : HttpRequest.BodyPublishers.ofString(body));
        var answer = CLIENT.send(request.build(), HttpResponse.BodyHandlers.ofString());
        if (answer.statusCode() != 200) throw new IllegalStateException(answer.body());
        return answer.body();
    }

    static String quoted(String text) {
        return '"' + text.replace("\\", "\\\\").replace("\"", "\\\"") + '"';
    }

    public static void main(String[] args) throws Exception {
        if (args.length != 4) {
            System.err.println("usage: java Report.java SUBJECT CONTEXT STATUS SCORE");
            System.exit(2);
        }
        System.out.println(ask("/v1/report", String.format(
                "{\"observer\": %s, \"subject\": %s, \"contexts\": {%s: [%s, %s]}}", quoted("java@" + ProcessHandle.current().pid()),
                quoted(args[0]), quoted(args[1]), quoted(args[2]), Double.parseDouble(args[3]))));
        System.out.println(ask("/v1/health/" + URLEncoder.encode(args[0], StandardCharsets.UTF_8).replace("+", "%20"), null));
    }
}
