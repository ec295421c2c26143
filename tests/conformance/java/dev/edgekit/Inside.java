package dev.edgekit;

import com.google.gson.Gson;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.Base64;
import java.util.LinkedHashMap;
import java.util.Map;

/** What the package keeps to itself, asked for by lines of JSON as a driver is. */
public final class Inside {
    private Inside() {}

    public static void main(String[] arguments) throws IOException {
        Gson gson = new Gson();
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            Map<String, Object> answer = new LinkedHashMap<>();
            try {
                answer.put("ok", answer(gson, JsonParser.parseString(line).getAsJsonObject()));
            } catch (EdgekitException error) {
                answer.put("error", error.code());
                answer.put("message", error.getMessage());
            }
            System.out.println(gson.toJson(answer));
        }
    }

    private static Object answer(Gson gson, JsonObject request) {
        switch (request.get("op").getAsString()) {
            case "offsets": // {text, bytes: [offsets]} -> [offsets in chars]
                Offsets offsets = new Offsets(request.get("text").getAsString());
                int[] bytes = gson.fromJson(request.get("bytes"), int[].class);
                return Arrays.stream(bytes).map(offsets::chars).toArray();
            case "encode": // {text} -> base64
                byte[] encoded = Utf8.encode("a text", request.get("text").getAsString());
                return Base64.getEncoder().encodeToString(encoded);
            case "through": // {texts} -> the same, joined for C and split again
                String[] texts = gson.fromJson(request.get("texts"), String[].class);
                return Utf8.split(Utf8.join("a text", Arrays.asList(texts)));
            case "tensor": // {values, shape} -> the values again
                float[] values = gson.fromJson(request.get("values"), float[].class);
                return Tensor.float32(values, gson.fromJson(request.get("shape"), long[].class)).floats();
            case "pixels": // {bytes, width, height}
                byte[] rgb = new byte[request.get("bytes").getAsInt()];
                return new Pixels(rgb, request.get("width").getAsInt(), request.get("height").getAsInt()).rgb.length;
            default:
                throw new IllegalArgumentException("unknown: " + request);
        }
    }
}
