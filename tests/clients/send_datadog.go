// Sends the samples that tests/programs/clients.rs expects, with Debian's golang-github-datadog-datadog-go-dev.
// Usage: send_datadog ADDRESS direct|buffered
package main

import (
	"fmt"
	"os"
	"time"

	"github.com/DataDog/datadog-go/statsd"
)

func connect(address string) (*statsd.Client, error) {
	if os.Args[2] == "buffered" {
		// Packs lines into datagrams of up to 1432 bytes.
		return statsd.NewBuffered(address, 50)
	}
	return statsd.New(address)
}

func main() {
	client, err := connect(os.Args[1])
	if err != nil {
		panic(err)
	}
	// By default, the client drops what a Unix socket does not accept within a millisecond.
	client.SetWriteTimeout(time.Minute)
	client.Namespace = "shop."
	client.Tags = []string{"env:test", "canary"}
	for order := 0; order < 100; order++ {
		region := []string{"region:us"}
		if order%4 == 0 {
			region = []string{"region:eu"}
		}
		client.Incr("orders", region, 1)
		client.Count("items", int64(order%5), region, 1)
		client.Set("customers", fmt.Sprintf("customer-%d", order%25), nil, 1)
		client.Histogram("basket", float64(order)/2, nil, 1)
		client.Distribution("latency", float64(order)/64, nil, 1)
		client.Timing("checkout", time.Duration(order)*time.Millisecond, nil, 1)
		client.TimeInMilliseconds("steps", float64(order)+0.5, nil, 1)
	}
	client.Decr("orders", []string{"region:eu"}, 1)
	client.Gauge("stock", 40, nil, 1)
	client.Gauge("stock", 27.5, nil, 1)
	client.Gauge("stock", 12, []string{"url:http://shop.test:80/a"}, 1)
	if err := client.Flush(); err != nil {
		panic(err)
	}
	client.Close()
}
