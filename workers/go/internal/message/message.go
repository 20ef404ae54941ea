// Package message reads the messages of a pool's queue: CloudEvents whose data is the task of one attempt.
package message

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"
	"sort"
	"strings"
	"time"
	"unicode/utf8"
)

const attemptType = "dev.steno.attempt.v1"

var idPattern = regexp.MustCompile(`^[!-~]{1,128}$`)

// Message is one attempt to be made.
type Message struct {
	// ID is <job uid>/<attempt>.
	ID string
	// Source is /steno/<pool namespace>/<pool name>.
	Source string
	// Subject is <job namespace>/<job name>.
	Subject string
	// Data is the task.
	Data json.RawMessage

	proof string
}

// Malformed is the error of what is not a message; its text quotes nothing of it.
type Malformed struct{ Reason string }

func (malformed *Malformed) Error() string { return malformed.Reason }

type event struct {
	SpecVersion string          `json:"specversion"`
	ID          string          `json:"id"`
	Source      string          `json:"source"`
	Type        string          `json:"type"`
	Subject     string          `json:"subject"`
	Time        string          `json:"time"`
	Tenant      string          `json:"tenant"`
	Priority    int             `json:"priority"`
	Proof       string          `json:"proof"`
	Data        json.RawMessage `json:"data"`
}

// Parse reads a message. The error is a *Malformed.
func Parse(body []byte) (*Message, error) {
	var read event
	if !utf8.Valid(body) || json.Unmarshal(body, &read) != nil {
		return nil, &Malformed{"It is not a message of Steno: the whole."}
	}
	_, timeError := time.Parse(time.RFC3339Nano, read.Time)
	data := map[string]any{}
	wrong := map[string]bool{
		"specversion": read.SpecVersion != "1.0" && read.SpecVersion != "",
		"id":          !idPattern.MatchString(read.ID),
		"source":      !within(read.Source, 1024),
		"type":        read.Type != attemptType && read.Type != "",
		"subject":     !within(read.Subject, 1024),
		"time":        timeError != nil,
		"tenant":      !within(read.Tenant, 253),
		"priority":    read.Priority < -1000 || read.Priority > 1000,
		"proof":       utf8.RuneCountInString(read.Proof) > 128,
		"data":        json.Unmarshal(read.Data, &data) != nil,
	}
	var names []string
	for name, is := range wrong {
		if is {
			names = append(names, name)
		}
	}
	if len(names) > 0 {
		sort.Strings(names)
		return nil, &Malformed{fmt.Sprintf("It is not a message of Steno: %s.", strings.Join(names, ", "))}
	}
	return &Message{read.ID, read.Source, read.Subject, read.Data, read.Proof}, nil
}

// Admit reads a message that was received, if it is to be delivered; else the error is a *Malformed with the reason
// of the dead letter.
func Admit(body []byte, receives, maxReceives int) (*Message, error) {
	read, err := Parse(body)
	if err != nil {
		return nil, err
	}
	if receives > maxReceives {
		return nil, &Malformed{fmt.Sprintf("It was given to %d workers, and none of them finished it: they were lost "+
			"each time, for example because memory ran out.", maxReceives)}
	}
	return read, nil
}

// IsProven tells whether the message's proof was made with any of the keys of its job: who may write the queue has
// no such key.
func (message *Message) IsProven(keys [][]byte) bool {
	data, err := Decode(message.Data)
	if err != nil {
		return false
	}
	statement := map[string]any{"id": message.ID, "source": message.Source, "data": data}
	return IsProof(message.proof, keys, map[string]any{"message": statement})
}

// Prove returns the proof of a statement: an HMAC over its canonical JSON, in hexadecimal digits.
func Prove(key []byte, statement map[string]any) (string, error) {
	text, err := Canonical(statement)
	if err != nil {
		return "", err
	}
	mac := hmac.New(sha256.New, key)
	mac.Write(text)
	return hex.EncodeToString(mac.Sum(nil)), nil
}

// IsProof tells whether a proof of a statement was made with any of the keys.
func IsProof(proof string, keys [][]byte, statement map[string]any) bool {
	found := false
	for _, key := range keys {
		made, err := Prove(key, statement)
		if err == nil && hmac.Equal([]byte(made), []byte(proof)) {
			found = true
		}
	}
	return found
}

func within(text string, most int) bool {
	return text != "" && utf8.RuneCountInString(text) <= most
}
