import { describe, expect, it } from 'vitest';
import { Places } from '../../src/pipeline/places.ts';
import { Traffic, TrafficCounters, trafficMemory } from '../../src/pipeline/tally.ts';
import { TrafficNews } from '../../src/pipeline/traffic-news.ts';

const [A, B] = ['0a'.repeat(16), '0b'.repeat(16)];

function board() {
  const memory = trafficMemory();
  const places = new Places();
  const news = new TrafficNews(new TrafficCounters(memory), places);
  const thread = new TrafficCounters(memory);
  return { places, news, thread, other: new TrafficCounters(memory), pathIds: () => news.look().map((t) => t.pathId) };
}

describe('news of traffic', () => {
  it('are the totals of the paths whose packets went, came or were lost, once', () => {
    const { places, news, thread, pathIds } = board();
    const [a, b] = [places.take(A), places.take(B)];
    expect(news.look()).toEqual([]);
    thread.add(b, Traffic.txPackets, 3);
    thread.add(b, Traffic.txBytes, 300);
    expect(news.look()).toMatchObject([{ pathId: B, txPackets: 3, txBytes: 300, rxPackets: 0 }]);
    expect(news.look()).toEqual([]);
    for (const counter of [Traffic.txDropped, Traffic.rxPackets, Traffic.rxDropped]) {
      thread.add(a, counter, 1);
      expect(pathIds()).toEqual([A]);
    }
    // Repetitions and forgeries show nothing of a path.
    thread.add(a, Traffic.rxReplayed, 1);
    thread.add(a, Traffic.rxRejected, 1);
    expect(news.look()).toEqual([]);
  });

  it('forget a path that is gone: the next one in its place is as new', () => {
    const { places, news, thread, pathIds } = board();
    const place = places.take(A);
    thread.add(place, Traffic.rxPackets, 5);
    expect(pathIds()).toEqual([A]);
    places.release(A);
    news.forget(A);
    expect(places.take(A)).toBe(place);
    expect(pathIds()).toEqual([A]);
  });

  it('are told by one thread, once, after a look that found none', () => {
    const { places, news, thread, other } = board();
    const place = places.take(A);
    expect(thread.isAwaited).toBe(false);
    news.look();
    // Nothing was added yet.
    expect([thread.isAwaited, other.isAwaited]).toEqual([false, false]);
    thread.add(place, Traffic.txPackets, 1);
    other.add(place, Traffic.rxPackets, 1);
    expect([other.isAwaited, thread.isAwaited]).toEqual([true, false]);
    thread.add(place, Traffic.txPackets, 1);
    expect(thread.isAwaited).toBe(false);
  });

  it('are not told while looks find some', () => {
    const { places, news, thread } = board();
    const place = places.take(A);
    thread.add(place, Traffic.txPackets, 1);
    expect(news.look()).toHaveLength(1);
    expect(thread.isAwaited).toBe(false);
    thread.add(place, Traffic.txPackets, 1);
    expect(thread.isAwaited).toBe(false);
    expect(news.look()).toHaveLength(1);
    expect(news.look()).toHaveLength(0);
    thread.add(place, Traffic.txPackets, 1);
    expect(thread.isAwaited).toBe(true);
  });
});
