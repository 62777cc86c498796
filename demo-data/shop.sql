-- A small shop: the source of the demo. It runs on MySQL and on MariaDB.
--
-- Every table has a stamp, a TIMESTAMP that follows each INSERT and UPDATE, and an index on it.
-- With fractions of a second in the stamp a change travels at once; a TIMESTAMP without any is
-- served when its second is over.

CREATE DATABASE shop CHARACTER SET utf8mb4;
USE shop;

CREATE TABLE customers (
  id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
  email VARCHAR(100) NOT NULL,
  name VARCHAR(100) NOT NULL,
  country CHAR(2) NOT NULL DEFAULT 'DE',
  changed TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3),
  UNIQUE KEY email (email),
  KEY changed (changed)
);

CREATE TABLE products (
  id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
  name VARCHAR(100) NOT NULL,
  price DECIMAL(10,2) NOT NULL,
  details JSON,
  picture VARBINARY(32),
  changed TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3),
  KEY changed (changed)
);

CREATE TABLE orders (
  id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
  customer_id INT UNSIGNED NOT NULL,
  status ENUM('new','paid','sent','returned') NOT NULL DEFAULT 'new',
  note TEXT,
  ordered DATETIME NOT NULL,
  changed TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3),
  KEY changed (changed),
  CONSTRAINT orders_customer FOREIGN KEY (customer_id) REFERENCES customers (id)
);

CREATE TABLE order_lines (
  order_id INT UNSIGNED NOT NULL,
  line SMALLINT UNSIGNED NOT NULL,
  product_id INT UNSIGNED NOT NULL,
  quantity INT UNSIGNED NOT NULL,
  price DECIMAL(10,2) NOT NULL,
  total DECIMAL(20,2) AS (price * quantity),
  changed TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3),
  PRIMARY KEY (order_id, line),
  KEY changed (changed),
  CONSTRAINT order_lines_order FOREIGN KEY (order_id) REFERENCES orders (id) ON DELETE CASCADE,
  CONSTRAINT order_lines_product FOREIGN KEY (product_id) REFERENCES products (id)
);

INSERT INTO customers (email, name, country)
WITH digit AS (SELECT 0 d UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4
               UNION ALL SELECT 5 UNION ALL SELECT 6 UNION ALL SELECT 7 UNION ALL SELECT 8 UNION ALL SELECT 9)
SELECT CONCAT(LOWER(first.name), n, '@example.com'), CONCAT(first.name, ' ', family.name),
       ELT(1 + n % 5, 'DE', 'FR', 'JP', 'BR', 'KE')
FROM (SELECT a.d + 10 * b.d + 100 * c.d + 1 AS n FROM digit a, digit b, digit c) AS numbers
JOIN (SELECT 0 id, 'Ada' name UNION ALL SELECT 1, 'Zoë' UNION ALL SELECT 2, 'Linus' UNION ALL SELECT 3, 'Grace') AS first
  ON first.id = n % 4
JOIN (SELECT 0 id, 'Nguyễn' name UNION ALL SELECT 1, 'O''Hara' UNION ALL SELECT 2, '山田') AS family
  ON family.id = n % 3
ORDER BY n;

INSERT INTO products (name, price, details, picture)
WITH digit AS (SELECT 0 d UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4
               UNION ALL SELECT 5 UNION ALL SELECT 6 UNION ALL SELECT 7 UNION ALL SELECT 8 UNION ALL SELECT 9)
SELECT CONCAT(ELT(1 + n % 4, 'Kettle', 'Teapot ☕', 'Lamp', 'Chair'), ' ', n), n * 1.25 + 0.99,
       JSON_OBJECT('colour', ELT(1 + n % 3, 'red', 'green', 'blue'), 'stock', n * 7 % 50),
       UNHEX(SHA2(n, 256))
FROM (SELECT a.d + 10 * b.d + 1 AS n FROM digit a, digit b) AS numbers
ORDER BY n;

INSERT INTO orders (customer_id, status, note, ordered)
SELECT id, ELT(1 + id % 3, 'new', 'paid', 'sent'), IF(id % 7 = 0, 'please ring twice', NULL),
       TIMESTAMP('2024-01-01') + INTERVAL id * 531 MINUTE
FROM customers ORDER BY id;

INSERT INTO order_lines (order_id, line, product_id, quantity, price)
SELECT orders.id, line.n, products.id, 1 + (orders.id + line.n) % 4, products.price
FROM orders
JOIN (SELECT 1 n UNION ALL SELECT 2 UNION ALL SELECT 3) AS line
JOIN products ON products.id = 1 + (orders.id * 3 + line.n * 11) % 100
ORDER BY orders.id, line.n;
