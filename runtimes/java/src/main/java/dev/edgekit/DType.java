package dev.edgekit;

/** What a tensor is made of. Numbered as ONNX numbers them. */
public enum DType {
    FLOAT32(1, 4),
    UINT8(2, 1),
    INT8(3, 1),
    UINT16(4, 2),
    INT16(5, 2),
    INT32(6, 4),
    INT64(7, 8),
    BOOL(9, 1),
    FLOAT16(10, 2),
    FLOAT64(11, 8),
    UINT32(12, 4),
    UINT64(13, 8);

    final int number;
    /** Of one element. */
    final int bytes;

    DType(int number, int bytes) {
        this.number = number;
        this.bytes = bytes;
    }

    /** The name that manifests use: "float32". */
    public String label() {
        // By hand, for no locale may have a say in it.
        StringBuilder label = new StringBuilder(name());
        for (int at = 0; at < label.length(); at++) {
            char letter = label.charAt(at);
            label.setCharAt(at, letter >= 'A' && letter <= 'Z' ? (char) (letter + 'a' - 'A') : letter);
        }
        return label.toString();
    }

    /** The inverse of {@link #label}; {@link BadInput} for another name. */
    public static DType labelled(String label) {
        for (DType one : values()) {
            if (one.label().equals(label)) {
                return one;
            }
        }
        throw new BadInput("dtype is " + label + ", which no tensor has");
    }

    static DType numbered(int number) {
        for (DType one : values()) {
            if (one.number == number) {
                return one;
            }
        }
        throw new RunFailed("the model gave a tensor of the unknown type " + number);
    }
}
