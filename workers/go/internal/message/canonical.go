package message

import (
	"bytes"
	"encoding/json"
	"fmt"
	"sort"
	"strconv"
	"strings"
	"unicode/utf16"
)

// Decode reads one JSON document as Canonical takes it: numbers as they are written.
func Decode(data []byte) (any, error) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return nil, err
	}
	if decoder.More() {
		return nil, fmt.Errorf("there is more after the document")
	}
	return value, nil
}

// Canonical returns the JSON that proofs are made of, to the byte what Python's json.dumps makes of the same document
// with ensure_ascii, sort_keys and separators without spaces.
func Canonical(value any) ([]byte, error) {
	var text bytes.Buffer
	if err := write(&text, value); err != nil {
		return nil, err
	}
	return text.Bytes(), nil
}

func write(text *bytes.Buffer, value any) error {
	switch value := value.(type) {
	case nil:
		text.WriteString("null")
	case bool:
		text.WriteString(strconv.FormatBool(value))
	case string:
		writeString(text, value)
	case json.Number:
		text.WriteString(number(value.String()))
	case []any:
		text.WriteByte('[')
		for index, each := range value {
			if index > 0 {
				text.WriteByte(',')
			}
			if err := write(text, each); err != nil {
				return err
			}
		}
		text.WriteByte(']')
	case map[string]any:
		names := make([]string, 0, len(value))
		for name := range value {
			names = append(names, name)
		}
		sort.Strings(names) // by bytes of UTF-8, which is by code points, as Python sorts
		text.WriteByte('{')
		for index, name := range names {
			if index > 0 {
				text.WriteByte(',')
			}
			writeString(text, name)
			text.WriteByte(':')
			if err := write(text, value[name]); err != nil {
				return err
			}
		}
		text.WriteByte('}')
	default:
		return fmt.Errorf("a %T has no canonical JSON", value)
	}
	return nil
}

var named = map[rune]string{'"': `\"`, '\\': `\\`, '\n': `\n`, '\r': `\r`, '\t': `\t`, '\f': `\f`, '\b': `\b`}

func writeString(text *bytes.Buffer, value string) {
	text.WriteByte('"')
	for _, char := range value {
		switch escaped, found := named[char]; {
		case found:
			text.WriteString(escaped)
		case char >= ' ' && char <= '~':
			text.WriteByte(byte(char))
		case char > 0xFFFF:
			high, low := utf16.EncodeRune(char)
			fmt.Fprintf(text, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(text, `\u%04x`, char)
		}
	}
	text.WriteByte('"')
}

// number returns a number as Python writes it: integers as they are, others by repr.
func number(literal string) string {
	if !strings.ContainsAny(literal, ".eE") {
		if literal == "-0" {
			return "0"
		}
		return literal
	}
	value, err := strconv.ParseFloat(literal, 64)
	if err != nil { // beyond what a double holds
		if strings.HasPrefix(literal, "-") {
			return "-Infinity"
		}
		return "Infinity"
	}
	scientific := strconv.FormatFloat(value, 'e', -1, 64)
	_, exponent, _ := strings.Cut(scientific, "e")
	if power, _ := strconv.Atoi(exponent); power < -4 || power >= 16 {
		return scientific
	}
	fixed := strconv.FormatFloat(value, 'f', -1, 64)
	if !strings.Contains(fixed, ".") {
		fixed += ".0"
	}
	return fixed
}
