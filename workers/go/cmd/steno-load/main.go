// Steno-load opens many live sessions at once, over WebSocket or gRPC, and reports what their clients see.
//
//	steno-load -url wss://stt.example.com/stt/realtime -token-file key -active 100 -idle 1000 -wav talk.wav
//
// With a gateway, one API key serves all clients. Servers of a RuntimePool need the token of a StreamSession for each:
// give them in -token-file, one a line. The exit code is 1 if a session was refused or lost.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"steno.dev/workers/internal/audio"
	"steno.dev/workers/internal/load"
	"steno.dev/workers/internal/session"
)

const exitUsage = 64

type options struct {
	load.Config
	session session.Config
	tokens  []string
	prefix  string
	json    bool
}

func main() {
	parsed, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "steno-load:", err)
		os.Exit(exitUsage)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	report, err := load.Run(ctx, parsed.Config)
	if err != nil {
		fmt.Fprintln(os.Stderr, "steno-load:", err)
		os.Exit(exitUsage)
	}
	if parsed.json {
		err = json.NewEncoder(os.Stdout).Encode(report)
	} else {
		err = report.Write(os.Stdout)
	}
	if err != nil || report.Failed() {
		os.Exit(1)
	}
}

func parse(words []string) (options, error) {
	var parsed options
	var wav, tokens string
	flags := flag.NewFlagSet("steno-load", flag.ContinueOnError)
	flags.StringVar(&parsed.session.URL, "url", "", "ws://… or wss://…, or HOST:PORT of a gRPC server")
	flags.StringVar(&wav, "wav", "", "what active clients say: 16-bit PCM, one channel")
	flags.StringVar(&tokens, "token-file", "", "an API key for all clients, or a token for each, one a line")
	flags.StringVar(&parsed.prefix, "session-prefix", "", "session_id of a client is this and its number; empty: none")
	flags.StringVar(&parsed.session.Language, "language", "", "a language code, or auto; empty: the session's")
	flags.StringVar(&parsed.session.CertificateAuthority, "ca", "", "file of CA certificates (PEM)")
	flags.BoolVar(&parsed.session.Plaintext, "plaintext", false, "gRPC without TLS")
	flags.IntVar(&parsed.Active, "active", 1, "clients that speak")
	flags.IntVar(&parsed.Idle, "idle", 0, "clients that are silent")
	flags.DurationVar(&parsed.Ramp, "ramp", 5*time.Second, "within which all clients begin")
	flags.DurationVar(&parsed.Duration, "duration", 30*time.Second, "of each session")
	flags.DurationVar(&parsed.Timeout, "timeout", 30*time.Second, "of a connection, and of the end of a session")
	flags.DurationVar(&parsed.KeepAlive, "keep-alive", 10*time.Second, "how often idle clients say that they are there")
	flags.BoolVar(&parsed.json, "json", false, "report as JSON")
	if err := flags.Parse(words); err != nil {
		return parsed, err
	}
	if parsed.session.URL == "" || flags.NArg() > 0 {
		return parsed, errors.New("give -url, and nothing besides the options (-help lists them)")
	}
	if wav != "" {
		clip, err := readWAV(wav)
		if err != nil {
			return parsed, fmt.Errorf("%s: %w", wav, err)
		}
		parsed.Clip, parsed.session.Rate = clip, clip.Rate
	}
	if tokens != "" {
		data, err := os.ReadFile(tokens)
		if err != nil {
			return parsed, err
		}
		if parsed.tokens = strings.Fields(string(data)); len(parsed.tokens) == 0 {
			return parsed, fmt.Errorf("%s has no token", tokens)
		}
		if count := len(parsed.tokens); count > 1 && count < parsed.Active+parsed.Idle {
			return parsed, fmt.Errorf("%s has %d tokens for %d clients", tokens, count, parsed.Active+parsed.Idle)
		}
	}
	parsed.Dial = parsed.dial
	return parsed, parsed.Validate()
}

func readWAV(name string) (audio.Clip, error) {
	file, err := os.Open(name)
	if err != nil {
		return audio.Clip{}, err
	}
	defer file.Close()
	return audio.ReadWAV(file)
}

func (parsed options) dial(ctx context.Context, client int) (session.Session, error) {
	config := parsed.session
	switch len(parsed.tokens) {
	case 0:
	case 1:
		config.Token = parsed.tokens[0]
	default:
		config.Token = parsed.tokens[client]
	}
	if parsed.prefix != "" {
		config.ID = fmt.Sprintf("%s%d", parsed.prefix, client)
	}
	if strings.HasPrefix(config.URL, "ws://") || strings.HasPrefix(config.URL, "wss://") {
		return session.DialWebSocket(ctx, config)
	}
	return session.DialGRPC(ctx, config)
}
