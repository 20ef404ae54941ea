package message

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

// Each pair is what Python's json.loads takes, and what json.dumps makes of it for proofs.
func TestCanonicalJSONIsThatOfPython(t *testing.T) {
	for given, want := range map[string]string{
		`{"b": [1, -0, 2.50], "a": {"z": null, "A": true}}`: `{"a":{"A":true,"z":null},"b":[1,0,2.5]}`,
		`"é계 \u2028 😀 \u007f <&> \/"`:                       `"\u00e9\uacc4 \u2028 \ud83d\ude00 \u007f <&> /"`,
		`"\"\\\n\r\t\f\b\u0001"`:                            `"\"\\\n\r\t\f\b\u0001"`,
		`{"é": 1, "z": 2, "😀": 3, "\uffee": 4}`:             `{"z":2,"\u00e9":1,"\uffee":4,"\ud83d\ude00":3}`,
		`[600.0, 1e3, 1E-5, 0.0001, 1e16, 1e15, 123456789012345678901234567890]`: `[600.0,1000.0,1e-05,0.0001,1e+16,` +
			`1000000000000000.0,123456789012345678901234567890]`,
		`[-0.0, 1.7976931348623157e308, 1e400, -1e400, 5e-324]`: `[-0.0,1.7976931348623157e+308,Infinity,-Infinity,5e-324]`,
	} {
		value, err := Decode([]byte(given))
		if err != nil {
			t.Fatal(given, err)
		}
		if got, err := Canonical(value); err != nil || string(got) != want {
			t.Errorf("%s\n%s\n%s %v", given, got, want, err)
		}
	}
	if _, err := Decode([]byte("{} {}")); err == nil {
		t.Error("two documents are one")
	}
}

func encoded(changes map[string]any) []byte {
	document := map[string]any{
		"specversion": "1.0", "id": "uid/1", "source": "/steno/team/ocr", "type": "dev.steno.attempt.v1",
		"subject": "team/job", "time": "2026-11-26T10:00:00.123456Z", "tenant": "acme", "priority": 3,
		"data": map[string]any{"kind": "OCRTask"}, "traceparent": "of a newer publisher",
	}
	for name, value := range changes {
		document[name] = value
	}
	body, _ := json.Marshal(document)
	return body
}

func TestAMessage(t *testing.T) {
	read, err := Admit(encoded(nil), 5, 5)
	if err != nil || read.ID != "uid/1" || read.Source != "/steno/team/ocr" || string(read.Data) != `{"kind":"OCRTask"}` {
		t.Fatal(read, err)
	}
	_, err = Admit(encoded(nil), 6, 5)
	var malformed *Malformed
	if !errors.As(err, &malformed) || !strings.Contains(malformed.Reason, "given to 5 workers") {
		t.Error(err)
	}
}

func TestWhatIsWrongWithAMessageIsNamedButNotQuoted(t *testing.T) {
	for name, changed := range map[string]any{
		"specversion": "0.3", "id": "a b", "source": "", "type": "other", "time": "yesterday", "tenant": "",
		"priority": 1001, "proof": strings.Repeat("x", 129), "data": []int{1},
	} {
		_, err := Parse(encoded(map[string]any{name: changed}))
		var malformed *Malformed
		if !errors.As(err, &malformed) || malformed.Reason != "It is not a message of Steno: "+name+"." {
			t.Error(name, err)
		}
	}
	for _, body := range []string{"no JSON", "[1]", strings.Repeat("[", 9000), "\"\xff\"", ""} {
		if _, err := Parse([]byte(body)); err == nil {
			t.Errorf("%.20q is a message", body)
		}
	}
}

func TestAProofIsOfOneMessageAndOneKey(t *testing.T) {
	key, other := []byte("key"), []byte("other")
	data, _ := Decode([]byte(`{"kind":"OCRTask"}`))
	statement := map[string]any{"id": "uid/1", "source": "/steno/team/ocr", "data": data}
	proof, err := Prove(key, map[string]any{"message": statement})
	if err != nil || proof != "aa20ab41106bd0abdab2a74568f97e388a40f5f1b6e48ea3888006ced0369951" { // of Python
		t.Fatal(proof, err)
	}
	proven, _ := Parse(encoded(map[string]any{"proof": proof}))
	if !proven.IsProven([][]byte{other, key}) || proven.IsProven([][]byte{other}) || proven.IsProven(nil) {
		t.Error("the keys do not decide")
	}
	changed, _ := Parse(encoded(map[string]any{"proof": proof, "data": map[string]any{"kind": "ocrtask"}}))
	unproven, _ := Parse(encoded(nil))
	if changed.IsProven([][]byte{key}) || unproven.IsProven([][]byte{key}) {
		t.Error("another message has the same proof")
	}
}
