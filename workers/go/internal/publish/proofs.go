package publish

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"steno.dev/workers/internal/message"
	"steno.dev/workers/internal/operator"
	"steno.dev/workers/internal/storage"
)

const (
	proofType = "text/plain"
	// patience for an operator that is away, in all: longer than another replica takes to lead.
	patience                 = time.Minute
	firstPause, longestPause = 200 * time.Millisecond, 5 * time.Second
)

// Proofs makes and checks the proofs of one job's results, by keys that only its own workers get: who else may write to
// the output is not believed. The manifest has its proof in it; an artifact has it in an object beside it, which is
// named after the artifact's content and written before.
type Proofs struct {
	ask   func(context.Context) ([][]byte, error)
	where string

	known    bool
	keys     [][]byte
	prepared bool
	signing  []byte
}

// NewProofs returns the proofs of a job.
//
// Ask asks the operator for the keys; where is the output, for messages.
func NewProofs(ask func(context.Context) ([][]byte, error), where string) *Proofs {
	return &Proofs{ask: ask, where: where}
}

// all returns the keys; none where results are not proven. They are asked for when they are needed.
func (proofs *Proofs) all(ctx context.Context) ([][]byte, error) {
	if proofs.known {
		return proofs.keys, nil
	}
	until := time.Now().Add(patience)
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		keys, err := proofs.ask(ctx)
		if err == nil || errors.Is(err, operator.ErrNoKeys) {
			proofs.keys, proofs.known = keys, true
			return keys, nil
		}
		if time.Now().Add(pause).After(until) {
			return nil, storage.Fail(storage.OutputUnavailable, "The operator does not say how results of this job are "+
				"proven, without which those that are at %s cannot be believed. Check that workers reach it; the "+
				"worker's log says what they got.", proofs.where)
		}
		slog.Warn("the result keys were not given", "why", err.Error())
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(pause):
		}
	}
}

// Prepare gets the key that makes proofs, now: publishing does not wait for it. Results that cannot be proven are
// published all the same, as an operator that is away is to cost no job.
func (proofs *Proofs) Prepare(ctx context.Context) error {
	if proofs.prepared {
		return nil
	}
	keys, err := proofs.all(ctx)
	var failure *storage.Failure
	if err != nil && !errors.As(err, &failure) {
		return err
	}
	if failure != nil {
		slog.Warn("the results are published without proofs", "why", failure.Message)
	}
	if len(keys) > 0 {
		proofs.signing = keys[0]
	}
	proofs.prepared = true
	return nil
}

// Write writes the proof of an artifact, which is written next.
func (proofs *Proofs) Write(ctx context.Context, to *storage.Output, name string, data []byte) error {
	if proofs.signing == nil {
		return nil
	}
	digest := digestOf(data)
	proof, err := message.Prove(proofs.signing, statement(name, digest))
	if err != nil {
		return err
	}
	_, err = to.Create(ctx, proofName(name, digest), []byte(proof), proofType)
	return err
}

// Hold tells whether a worker of this job wrote an artifact that was found.
func (proofs *Proofs) Hold(ctx context.Context, to *storage.Output, name string, data []byte) (bool, error) {
	keys, err := proofs.all(ctx)
	if err != nil || len(keys) == 0 {
		return err == nil, err
	}
	digest := digestOf(data)
	found, err := to.Read(ctx, proofName(name, digest))
	return message.IsProof(string(found), keys, statement(name, digest)), err
}

// holdManifest tells whether a worker of this job wrote a manifest, a decoded document, that was found.
func (proofs *Proofs) holdManifest(ctx context.Context, document map[string]any) (bool, error) {
	keys, err := proofs.all(ctx)
	if err != nil || len(keys) == 0 {
		return err == nil, err
	}
	proof, _ := document["proof"].(string)
	delete(document, "proof")
	return message.IsProof(proof, keys, map[string]any{"manifest": document}), nil
}

func digestOf(data []byte) string {
	digest := sha256.Sum256(data)
	return hex.EncodeToString(digest[:])
}

func proofName(name, digest string) string { return fmt.Sprintf(".%s.%s.proof", name, digest[:32]) }

func statement(name, digest string) map[string]any {
	return map[string]any{"artifact": name, "sha256": digest}
}
