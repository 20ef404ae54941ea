// Package load drives many live sessions at once and measures what their clients see.
package load

import (
	"context"
	"errors"
	"time"

	"steno.dev/workers/internal/audio"
	"steno.dev/workers/internal/session"
)

// ChunkDuration is how much audio a client sends at a time.
const ChunkDuration = 100 * time.Millisecond

// Dial opens the session of a client, from 0.
type Dial func(ctx context.Context, client int) (session.Session, error)

// Config of a run.
type Config struct {
	// Dial opens a session.
	Dial Dial
	// Clip is what active clients say, from its beginning again and again. It is sent as fast as it is spoken.
	Clip audio.Clip
	// Active clients send audio.
	Active int
	// Idle clients keep a session open and are silent.
	Idle int
	// Ramp is the time within which all clients begin.
	Ramp time.Duration
	// Duration of each session.
	Duration time.Duration
	// Timeout of a connection, and of the end of a session once no audio follows.
	Timeout time.Duration
	// KeepAlive is how often an idle client says that it is there.
	KeepAlive time.Duration
}

// Validate returns what is wrong with a configuration.
func (config Config) Validate() error {
	switch {
	case config.Dial == nil:
		return errors.New("there is no server")
	case config.Active < 0 || config.Idle < 0 || config.Active+config.Idle == 0:
		return errors.New("there are no clients")
	case config.Active > 0 && (config.Clip.Rate <= 0 || len(config.Clip.PCM) < chunkBytes(config.Clip)):
		return errors.New("the recording is shorter than 0.1 s")
	case config.Duration <= 0 || config.Timeout <= 0 || config.KeepAlive <= 0 || config.Ramp < 0:
		return errors.New("durations must be positive")
	}
	return nil
}

func chunkBytes(clip audio.Clip) int {
	return clip.Rate * int(ChunkDuration/time.Millisecond) / 1000 * audio.BytesPerSample
}
