import { expect, test } from '@jest/globals';
import { counted, duration, estimate, html, Markup, number, percent, table } from '../../lib/report/html.js';

test('interpolated text is escaped, markup is not', () => {
  const text = '<b>&"\'</b>';
  expect(html`<p title="${text}">${[text, new Markup('<i>')]}${undefined}${false}${0}</p>`.text).toBe(
    '<p title="&#60;b&#62;&#38;&#34;&#39;&#60;/b&#62;">&#60;b&#62;&#38;&#34;&#39;&#60;/b&#62;<i>0</p>',
  );
});

test('number formats', () => {
  expect([0, 0.5, 1.234, 12.34, 123.4, 12345.6, 1e7, 0.0001, -0.0004].map(number)).toEqual([
    '0',
    '0.500',
    '1.23',
    '12.3',
    '123',
    '12346',
    '1.00e+7',
    '1.00e-4',
    '-4.00e-4',
  ]);
  expect(percent(0.6123)).toBe('61.2 %');
  expect(estimate({ value: 0.6, low: 0.55, high: 0.651, count: 9 })).toBe('60.0 % [55.0, 65.1]');
  expect(estimate({ value: -0.3, low: -0.35, high: 1.5, count: 9 }, 'number')).toBe('-0.300 [-0.350, 1.50]');
  expect([5, 65, 3600, 7265].map(duration)).toEqual(['5 s', '1 min 5 s', '1 h 0 min', '2 h 1 min']);
});

test('one is singular', () => {
  expect([0, 1, 2].map((count) => counted(count, 'win'))).toEqual(['0 wins', '1 win', '2 wins']);
  expect([1, 3].map((count) => counted(count, 'loss', 'losses'))).toEqual(['1 loss', '3 losses']);
  expect(estimate({ value: 1, low: 1, high: 1, count: 1 })).toBe('100.0 % [–]');
  expect(estimate({ value: -2.5, low: -2.5, high: -2.5, count: 1 }, 'number')).toBe('-2.50 [–]');
});

test('columns of numbers are right-aligned, empty headers left out', () => {
  const text = table(
    ['', 'rate'],
    [
      ['a', '61.2 % [59.0, 63.4]'],
      ['b', ''],
    ],
  ).text;
  expect(text).toContain('<th class="number">rate</th>');
  expect(text).toContain('<td>a</td><td class="number">61.2 % [59.0, 63.4]</td>');
  expect(table(['', ''], [['a', 'words']]).text).not.toContain('thead');
});
