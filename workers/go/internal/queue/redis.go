// Package queue drains a pool's queue on Redis Streams, beside the servers of the pool: with the scripts, keys and
// leases of steno_queue.redis_streams. A lease is an entry's idle time in the group; a message that was left alone for
// the visibility timeout is delivered again, to any consumer.
package queue

import (
	"context"
	"crypto/rand"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"steno.dev/workers/internal/message"
)

const (
	group = "workers"
	// block is how long to wait for new entries before ended leases are looked for again.
	block = time.Second
	// deadLettersKept is how many dead letters a queue has at most, about.
	deadLettersKept = 10_000
)

var classes = []string{"high", "normal", "low"}

// files are copies of the scripts of steno_queue; a test keeps them equal.
//
//go:embed lua/*.lua
var files embed.FS

var take, keep, finish = script("take"), script("keep"), script("finish")

func script(name string) *redis.Script {
	source, err := files.ReadFile("lua/" + name + ".lua")
	if err != nil {
		panic(err)
	}
	return redis.NewScript(string(source))
}

// Redis is one consumer of a queue.
type Redis struct {
	settings Settings
	client   *redis.Client
	consumer string
	streams  []string
	dead     string
	ids      string
}

// Open prepares a consumer; connections are made when they are needed.
func Open(settings Settings) (*Redis, error) {
	options, err := settings.options()
	if err != nil {
		return nil, err
	}
	host, err := os.Hostname()
	if err != nil {
		host = "worker"
	}
	random := make([]byte, 6)
	_, _ = rand.Read(random) // never fails
	base := fmt.Sprintf("steno:{%s}", settings.Name)
	opened := &Redis{
		settings: settings, client: redis.NewClient(options), dead: base + ":dead", ids: base + ":id:",
		consumer: host + "-" + hex.EncodeToString(random),
	}
	for _, class := range classes {
		opened.streams = append(opened.streams, base+":"+class)
	}
	return opened, nil
}

// Delivery is a message that is leased to this consumer.
type Delivery struct {
	Message *message.Message
	// Receives is how often it was delivered, this time included.
	Receives int

	queue               *Redis
	stream, entry, body string
}

// Receive leases messages, those of higher priority first. Malformed ones, and those that were delivered too often, go
// to the dead letters instead. It waits for the first one, at most so long, or until ctx ends; what the server hands
// out is returned whatever becomes of ctx.
func (opened *Redis) Receive(ctx context.Context, limit int, wait time.Duration) ([]*Delivery, error) {
	until := time.Now().Add(wait)
	for {
		found, last, err := opened.lease(context.WithoutCancel(ctx), limit)
		left := time.Until(until)
		if err != nil || len(found) > 0 || left <= 0 || ctx.Err() != nil {
			return found, err
		}
		pause := max(time.Millisecond, min(left, block, opened.settings.Visibility()))
		streams := append(append([]string{}, opened.streams...), last...)
		_, err = opened.client.XRead(ctx, &redis.XReadArgs{Streams: streams, Count: 1, Block: pause}).Result()
		if err != nil && !errors.Is(err, redis.Nil) && ctx.Err() == nil {
			return nil, failed(err)
		}
	}
}

func (opened *Redis) lease(ctx context.Context, limit int) ([]*Delivery, []string, error) {
	answer, err := opened.take(ctx, limit)
	if isMissing(err) {
		if err = opened.makeGroups(ctx); err == nil {
			answer, err = opened.take(ctx, limit)
		}
	}
	if err != nil {
		return nil, nil, failed(err)
	}
	taken, last, err := parse(answer)
	if err != nil {
		return nil, nil, err
	}
	var found []*Delivery
	for _, each := range taken {
		stream := opened.streams[each.index-1]
		read, err := message.Admit([]byte(each.fields["message"]), each.receives, opened.settings.MaxReceives)
		var malformed *message.Malformed
		if errors.As(err, &malformed) {
			dead := []any{each.fields["message"], malformed.Reason, each.receives, deadLettersKept}
			if err := opened.finish(ctx, stream, each.entry, each.fields["id"], dead...); err != nil {
				return found, last, err
			}
			continue
		}
		found = append(found, &Delivery{read, each.receives, opened, stream, each.entry, each.fields["message"]})
	}
	return found, last, nil
}

func (opened *Redis) take(ctx context.Context, limit int) ([]any, error) {
	visibility := opened.settings.Visibility().Milliseconds()
	return take.Run(ctx, opened.client, opened.streams, group, opened.consumer, limit, visibility).Slice()
}

// isMissing tells whether a consumer group is not there, or not any more.
func isMissing(err error) bool {
	return err != nil && (strings.Contains(err.Error(), "NOGROUP") || strings.Contains(err.Error(), "no such key"))
}

func (opened *Redis) makeGroups(ctx context.Context) error {
	for _, stream := range opened.streams {
		err := opened.client.XGroupCreateMkStream(ctx, stream, group, "0").Err()
		if err != nil && !strings.Contains(err.Error(), "BUSYGROUP") {
			return err
		}
	}
	return nil
}

// Close closes the connections; what is leased is delivered again after its visibility timeout. A consumer without
// messages is removed from the group: its name is never used again.
func (opened *Redis) Close(ctx context.Context) error {
	for _, stream := range opened.streams {
		about := &redis.XPendingExtArgs{
			Stream: stream, Group: group, Start: "-", End: "+", Count: 1, Consumer: opened.consumer,
		}
		if pending, err := opened.client.XPendingExt(ctx, about).Result(); err == nil && len(pending) == 0 {
			_ = opened.client.XGroupDelConsumer(ctx, stream, group, opened.consumer).Err()
		}
	}
	return opened.client.Close()
}

// Extend keeps the message for another visibility timeout from now; false: the lease has ended.
func (delivery *Delivery) Extend(ctx context.Context) (bool, error) {
	return delivery.keep(ctx, 0, delivery.Receives)
}

// Ack removes the message: the work is done. No error if that was done before, or the lease has ended.
func (delivery *Delivery) Ack(ctx context.Context) error {
	return delivery.queue.finish(ctx, delivery.stream, delivery.entry, delivery.Message.ID)
}

// Release gives the message back, to be delivered again after a delay, of which at most the visibility timeout counts.
func (delivery *Delivery) Release(ctx context.Context, delay time.Duration) error {
	_, err := delivery.keep(ctx, delivery.idleFor(delay), delivery.Receives)
	return err
}

// Decline gives the message back as Release does, and this delivery does not count: another consumer can do it.
func (delivery *Delivery) Decline(ctx context.Context, delay time.Duration) error {
	_, err := delivery.keep(ctx, delivery.idleFor(delay), delivery.Receives-1)
	return err
}

// Reject moves the message to the dead letters.
func (delivery *Delivery) Reject(ctx context.Context, reason string) error {
	dead := []any{delivery.body, reason, delivery.Receives, deadLettersKept}
	return delivery.queue.finish(ctx, delivery.stream, delivery.entry, delivery.Message.ID, dead...)
}

func (delivery *Delivery) idleFor(delay time.Duration) time.Duration {
	return max(0, delivery.queue.settings.Visibility()-delay)
}

// keep sets the idle time of the message, and how often it counts as delivered.
func (delivery *Delivery) keep(ctx context.Context, idle time.Duration, counted int) (bool, error) {
	args := []any{group, delivery.queue.consumer, delivery.entry, idle.Milliseconds(), delivery.Receives, counted}
	kept, err := keep.Run(ctx, delivery.queue.client, []string{delivery.stream}, args...).Int()
	return kept == 1, failed(err)
}

// finish removes a message; with its body, the reason, how often it was delivered and how many to keep, it becomes a
// dead letter.
func (opened *Redis) finish(ctx context.Context, stream, entry, id string, dead ...any) error {
	args := append([]any{group, entry, opened.settings.DeduplicationSeconds}, dead...)
	return failed(finish.Run(ctx, opened.client, []string{stream, opened.dead, opened.ids + id}, args...).Err())
}

// entry is a message as the script hands it out.
type entry struct {
	index, receives int
	entry           string
	fields          map[string]string
}

var errAnswer = errors.New("Redis answered the script with something else")

// parse reads the answer of take.lua: what was taken, and the last entry of each stream.
func parse(answer []any) ([]entry, []string, error) {
	if len(answer) != 2 {
		return nil, nil, errAnswer
	}
	rows, _ := answer[0].([]any)
	ends, _ := answer[1].([]any)
	var found []entry
	for _, row := range rows {
		each, _ := row.([]any)
		if len(each) != 4 {
			return nil, nil, errAnswer
		}
		index, isIndex := each[0].(int64)
		name, isName := each[1].(string)
		receives, isCount := each[2].(int64)
		pairs, isList := each[3].([]any)
		if !isIndex || !isName || !isCount || !isList || index < 1 || int(index) > len(classes) {
			return nil, nil, errAnswer
		}
		read := entry{int(index), int(receives), name, map[string]string{}}
		for position := 0; position+1 < len(pairs); position += 2 {
			field, _ := pairs[position].(string)
			read.fields[field], _ = pairs[position+1].(string)
		}
		found = append(found, read)
	}
	var last []string
	for _, end := range ends {
		name, _ := end.(string)
		last = append(last, name)
	}
	if len(last) != len(classes) {
		return nil, nil, errAnswer
	}
	return found, last, nil
}

// failed says what a failure of the server means; nil stays nil.
func failed(err error) error {
	if err == nil {
		return nil
	}
	for _, denial := range []string{"NOAUTH", "WRONGPASS", "NOPERM", "user executing the script can't"} {
		if strings.Contains(err.Error(), denial) {
			return fmt.Errorf("Redis refuses the credentials (%w): check `username` and `password` in the queue's "+
				"Secret, and that this user may run scripts and use the queue's keys (steno:*)", err)
		}
	}
	return fmt.Errorf("Redis cannot be used now: %w", err)
}
