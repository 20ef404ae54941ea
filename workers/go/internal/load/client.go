package load

import (
	"context"
	"errors"
	"fmt"
	"time"

	"steno.dev/workers/internal/audio"
	"steno.dev/workers/internal/session"
)

// Outcome of a client.
type Outcome struct {
	Active bool
	// Refusal is the code of a server that did not serve the session to its end.
	Refusal string
	// Lost is why the connection broke off, or why the server was given up.
	Lost string
	// Reason for which the session ended; empty if it did not.
	Reason string
	// Connected is how long it took until the server accepted audio.
	Connected time.Duration
	// PartialLags say how far each partial was behind the last of its audio.
	PartialLags []time.Duration
	// FinalLags say it of finals.
	FinalLags []time.Duration
	// Disordered partials and finals had a number that was not larger than that of the one before.
	Disordered int
	// Slow is how often the server said that it lags behind.
	Slow int
	// Warned messages could not be used by the server.
	Warned int
	// Sent audio.
	Sent time.Duration
	// Ended is how long the rest of the text took once no audio followed.
	Ended time.Duration
}

var errGivenUp = errors.New("the server did not end the session in time")

// run is one client from its first to its last message.
func run(ctx context.Context, config Config, client int) Outcome {
	outcome := Outcome{Active: client < config.Active}
	begun := time.Now()
	dialling, cancel := context.WithTimeout(ctx, config.Timeout)
	defer cancel()
	opened, err := config.Dial(dialling, client)
	if err != nil {
		outcome.failed(err)
		return outcome
	}
	defer func() { _ = opened.Close() }()
	if event, err := opened.Receive(dialling); err != nil {
		outcome.failed(err)
		return outcome
	} else if event.Kind != session.Started {
		outcome.failed(session.ErrUnexpected)
		return outcome
	}
	cancel()
	outcome.Connected = time.Since(begun)

	life, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	spoken := time.Now()
	sent := make(chan sending, 1)
	go func() {
		result := send(life, config, opened, outcome.Active, spoken)
		sent <- result
		if result.err == nil {
			after := time.AfterFunc(config.Timeout, func() { stop(errGivenUp) })
			context.AfterFunc(life, func() { after.Stop() })
		}
	}()
	err = outcome.receive(life, opened, spoken)
	ended := time.Now()
	if cause := context.Cause(life); cause != nil && err != nil {
		err = cause
	}
	stop(nil)
	result := <-sent
	outcome.Sent = result.audio
	if result.err == nil {
		outcome.Ended = ended.Sub(result.at)
	}
	if err != nil {
		outcome.failed(err)
	}
	return outcome
}

// receive reads events up to the last one.
func (outcome *Outcome) receive(ctx context.Context, from session.Session, spoken time.Time) error {
	var last uint64
	for {
		event, err := from.Receive(ctx)
		if err != nil {
			return err
		}
		lag := time.Since(spoken) - event.End
		switch event.Kind {
		case session.Partial:
			outcome.PartialLags = append(outcome.PartialLags, lag)
		case session.Final:
			outcome.FinalLags = append(outcome.FinalLags, lag)
		case session.Slow:
			outcome.Slow++
		case session.Warned:
			outcome.Warned++
		case session.Ended:
			outcome.Reason = event.Reason
			return nil
		case session.Started:
			return fmt.Errorf("%w: the session started twice", session.ErrUnexpected)
		}
		if event.Kind == session.Partial || event.Kind == session.Final {
			if event.Seq <= last {
				outcome.Disordered++
			}
			last = event.Seq
		}
	}
}

func (outcome *Outcome) failed(err error) {
	var refusal *session.Refusal
	if errors.As(err, &refusal) {
		outcome.Refusal = refusal.Code
		return
	}
	outcome.Lost = err.Error()
}

// sending is what became of a client's audio.
type sending struct {
	audio time.Duration
	at    time.Time
	err   error
}

// send sends audio as fast as it is spoken, or signs of life, and then that no audio follows.
func send(ctx context.Context, config Config, to session.Session, active bool, spoken time.Time) sending {
	var result sending
	interval := config.KeepAlive
	if active {
		interval = ChunkDuration
	}
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	end := time.NewTimer(config.Duration)
	defer end.Stop()
	speech := loop{clip: config.Clip}
	for {
		select {
		case <-ctx.Done():
			result.err = ctx.Err()
			return result
		case <-end.C:
			result.at = time.Now()
			result.err = to.Finish(ctx)
			return result
		case <-ticker.C:
			if !active {
				result.err = to.KeepAlive(ctx)
			}
			// A ticker drops what a slow client misses; the audio catches up.
			for active && result.err == nil && result.audio+ChunkDuration <= time.Since(spoken) {
				if result.err = to.Send(ctx, speech.next()); result.err == nil {
					result.audio += ChunkDuration
				}
			}
			if result.err != nil {
				return result
			}
		}
	}
}

// loop is a clip that begins again at its end.
type loop struct {
	clip audio.Clip
	at   int
}

func (speech *loop) next() []byte {
	size := chunkBytes(speech.clip)
	if speech.at+size > len(speech.clip.PCM) {
		speech.at = 0
	}
	chunk := speech.clip.PCM[speech.at : speech.at+size]
	speech.at += size
	return chunk
}
