// Steno-worker drains the queue of a RuntimePool beside the pool's servers, on a node that needs no accelerator: it
// fetches the documents of OCRJobs, has a runtime server read them over gRPC, and publishes the results.
//
//	steno-worker -task-file pool.json -runtime 127.0.0.1:9090 -plaintext
//
// The task is that of the pool's servers. It ends on SIGTERM: attempts that go on then are finished, or given back.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"steno.dev/workers/internal/operator"
	"steno.dev/workers/internal/queue"
	"steno.dev/workers/internal/recognition"
	"steno.dev/workers/internal/task"
	"steno.dev/workers/internal/worker"
)

const (
	exitUsage = 64
	// closing is how long the consumer may take to leave the queue.
	closing = 10 * time.Second
)

type options struct {
	task    string
	runtime recognition.Config
	atOnce  int
	drain   time.Duration
}

func main() {
	slog.SetDefault(slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{ReplaceAttr: named})))
	parsed, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err == nil {
		err = run(parsed)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "steno-worker:", err)
		os.Exit(exitUsage)
	}
}

// named gives the fields of log lines the names that those of the other programs have.
func named(groups []string, field slog.Attr) slog.Attr {
	if len(groups) == 0 && field.Key == slog.MessageKey {
		field.Key = "message"
	}
	return field
}

func parse(words []string) (options, error) {
	var parsed options
	flags := flag.NewFlagSet("steno-worker", flag.ContinueOnError)
	flags.StringVar(&parsed.task, "task-file", "", "the task of the pool's servers (JSON)")
	flags.StringVar(&parsed.runtime.Address, "runtime", "", "HOST:PORT of a runtime server's gRPC")
	flags.StringVar(&parsed.runtime.TokenFile, "token-file", "", "file of a token or API key for it; empty: none is sent")
	flags.StringVar(&parsed.runtime.CertificateAuthority, "ca", "", "file of CA certificates (PEM) for it")
	flags.BoolVar(&parsed.runtime.Plaintext, "plaintext", false, "gRPC without TLS")
	flags.IntVar(&parsed.atOnce, "at-once", 2, "attempts at a time: while one is read, others are fetched and published")
	flags.DurationVar(&parsed.drain, "drain", 25*time.Second, "that attempts have to end after SIGTERM")
	if err := flags.Parse(words); err != nil {
		return parsed, err
	}
	if parsed.task == "" || parsed.runtime.Address == "" || flags.NArg() > 0 {
		return parsed, errors.New("give -task-file and -runtime, and nothing besides the options (-help lists them)")
	}
	if parsed.atOnce < 1 || parsed.drain < 0 {
		return parsed, errors.New("-at-once is at least 1, and -drain not negative")
	}
	return parsed, nil
}

func run(parsed options) error {
	pool, err := task.ReadPool(parsed.task)
	if err != nil {
		return err
	}
	reports, err := operator.New(pool.Reporting)
	if err != nil {
		return err
	}
	server, err := recognition.Connect(parsed.runtime)
	if err != nil {
		return err
	}
	defer server.Close()
	maker, err := worker.NewMaker(pool, reports, server)
	if err != nil {
		return err
	}
	messages, err := queue.Open(pool.Queue.Settings)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	slog.Info("taking attempts from the queue", "pool", pool.Pool.Namespace+"/"+pool.Pool.Name)
	worker.Run(ctx, worker.Config{
		Pool: pool, Queue: messages, Operator: reports, Maker: maker, AtOnce: parsed.atOnce, Drain: parsed.drain,
	})
	leaving, cancel := context.WithTimeout(context.Background(), closing)
	defer cancel()
	return messages.Close(leaving)
}
